//! A strategy with what it prepared for one snapshot.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use rand::Rng;

use crate::alias::Alias;
use crate::candidates::Candidates;
use crate::{
    Members, Pick, Rendezvous, Strategy, failover, fastest, least, peak_ewma, round_robin, weighted,
};

/// Picks members of one snapshot by one strategy. Build a new one with each snapshot.
#[derive(Debug)]
pub struct Selector {
    strategy: Strategy,
    cursor: Arc<AtomicUsize>,
    weights: Option<Alias>,
    rendezvous: Rendezvous,
}

impl Selector {
    /// A selector for these members, which starts round-robin at the first.
    #[must_use]
    pub fn new(strategy: Strategy, members: &(impl Members + ?Sized)) -> Self {
        Self::with_cursor(strategy, members, Arc::default())
    }

    /// A selector that goes on where the one before it stood: hand in its [`Selector::cursor`].
    #[must_use]
    pub fn with_cursor(
        strategy: Strategy,
        members: &(impl Members + ?Sized),
        cursor: Arc<AtomicUsize>,
    ) -> Self {
        let weights = (strategy == Strategy::Weighted).then(|| {
            let weights: Vec<u16> = (0..members.len()).map(|at| members.weight(at)).collect();
            Alias::new(&weights)
        });
        Self {
            strategy,
            cursor,
            weights: weights.flatten(),
            rendezvous: Rendezvous::new(members),
        }
    }

    /// The strategy.
    #[must_use]
    pub fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// The round-robin cursor, to be shared with the next selector.
    #[must_use]
    pub fn cursor(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.cursor)
    }

    /// The rendezvous table, which sticky sessions use under every strategy.
    #[must_use]
    pub fn rendezvous(&self) -> &Rendezvous {
        &self.rendezvous
    }

    /// Picks an eligible member that is not excluded; `None` where there is none.
    ///
    /// `members` are those the selector was built for. A member that loses its eligibility during the pick may
    /// still be picked.
    pub fn pick<M: Members + ?Sized, R: Rng + ?Sized>(
        &self,
        members: &M,
        pick: Pick<'_>,
        rng: &mut R,
    ) -> Option<usize> {
        let candidates = Candidates::new(members, pick.excluded);
        match (self.strategy, pick.key) {
            (Strategy::RoundRobin, _) => round_robin::pick(&candidates, &self.cursor, rng),
            (Strategy::Random, _) | (Strategy::Hash, None) => candidates.draw(rng),
            (Strategy::Weighted, _) => weighted::pick(&candidates, self.weights.as_ref(), rng),
            (Strategy::LeastUsed, _) => least::pick(&candidates, rng, |at| members.total(at)),
            (Strategy::LeastConnections, _) => {
                least::pick(&candidates, rng, |at| u64::from(members.active(at)))
            }
            (Strategy::Fastest, _) => fastest::pick(&candidates, rng),
            (Strategy::PeakEwma, _) => peak_ewma::pick(&candidates, rng),
            (Strategy::Hash, Some(key)) => self.rendezvous.pick(members, key, pick.excluded),
            (Strategy::Failover, _) => failover::pick(&candidates),
        }
    }
}
