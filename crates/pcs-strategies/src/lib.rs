//! Which member of a pool serves the next attempt: pure selection, one file a strategy.
//!
//! What for: [`Selector::pick`] chooses one eligible [`Members`] index by a [`Strategy`]; [`Rendezvous::pick`]
//! gives every instance with the same members the same answer for the same key. A pick takes no lock, allocates
//! nothing, and costs about a microsecond from 1 to 100,000 members, however few of them are eligible.
//!
//! What not: no clock, no IO, no randomness of its own (the caller hands in an [`rand::Rng`]), no knowledge of
//! what a member is. The only state is the round-robin cursor, which the caller may carry over to the next
//! selector.
//!
//! Start with [`Members`], which a pool implements over its dense arrays and a [`Bits`]:
//!
//! ```
//! use pcs_strategies::{Bits, Members, Pick, Selector, Strategy, stable_hash};
//! use rand::{SeedableRng, rngs::SmallRng};
//!
//! struct Three(Bits);
//!
//! impl Members for Three {
//!     fn len(&self) -> usize { 3 }
//!     fn is_eligible(&self, at: usize) -> bool { self.0.get(at) }
//!     fn eligible_count(&self) -> usize { self.0.ones() }
//!     fn next_eligible(&self, from: usize) -> Option<usize> { self.0.next(from) }
//!     fn eligible_word(&self, number: usize) -> Option<u64> { self.0.word(number) }
//!     fn nth_eligible(&self, rank: usize) -> Option<usize> { self.0.nth(rank) }
//!     fn weight(&self, _: usize) -> u16 { 1 }
//!     fn active(&self, _: usize) -> u32 { 0 }
//!     fn total(&self, _: usize) -> u64 { 0 }
//!     fn latency_us(&self, _: usize) -> u32 { 0 }
//!     fn success_permille(&self, _: usize) -> u16 { 1000 }
//!     fn id_hash(&self, at: usize) -> u64 { stable_hash(&at.to_le_bytes()) }
//! }
//!
//! let members = Three(Bits::filled(3));
//! let selector = Selector::new(Strategy::RoundRobin, &members);
//! let mut rng = SmallRng::seed_from_u64(1);
//! let mut next = || selector.pick(&members, Pick::default(), &mut rng);
//! assert_eq!([next(), next(), next(), next()], [Some(0), Some(1), Some(2), Some(0)]);
//! ```

mod alias;
mod bits;
mod candidates;
mod failover;
mod fastest;
mod hash;
mod least;
mod members;
mod peak_ewma;
mod rendezvous;
mod round_robin;
mod selector;
mod strategy;
mod weighted;

pub use bits::Bits;
pub use hash::stable_hash;
pub use members::{Members, Pick};
pub use rendezvous::Rendezvous;
pub use selector::Selector;
pub use strategy::{Strategy, UnknownStrategy};
