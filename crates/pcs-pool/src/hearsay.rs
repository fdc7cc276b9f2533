//! What the corporate proxy says against members, until it shows whether it can be believed.
//!
//! A corporate proxy that cannot reach a member says 502, 503 or 504, or breaks off; one that reaches nobody says the
//! same of everybody. Which of the two it is shows when a chain through it to another member stands: begun after it
//! spoke, and from the ground up, for a stream that was kept from before says nothing of how it is now. Then
//!
//! - what it said of one member alone is believed: the member is charged;
//! - what it said of several may have been its own trouble, which is over now: nobody is charged, those who were
//!   tried before it was over neither;
//! - a member that is told against again, by an attempt that began after such a doubt was lifted, is charged whatever
//!   is said of others: of ten members nine may be dead.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::leave::Leave;
use crate::member::Member;
use crate::outage::Outage;
use crate::pool::Pool;

/// What is kept at once; the oldest goes first. As much said in one breath is believed of nobody anyway.
const CAPACITY: usize = 256;

/// What nobody has settled for so long is too old to say anything.
const LIFETIME: Duration = Duration::from_secs(60);

/// One word against a member.
struct Word {
    leave: Leave,
    /// When the attempt began.
    began: Instant,
    /// When it failed.
    at: Instant,
    /// Whether it was the absence of a word.
    silent: bool,
}

/// All that is not settled yet, of all pools.
#[derive(Default)]
pub(crate) struct Hearsay {
    /// Whether there is anything to settle; read for every chain, so that those take no lock.
    any: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    words: Vec<Word>,
    /// When a chain last showed that what was said of several members was over.
    cleared: Option<Instant>,
}

impl Held {
    fn expire(&mut self, now: Instant) {
        self.words
            .retain(|word| now.saturating_duration_since(word.at) < LIFETIME);
    }

    fn is_of_several(&self) -> bool {
        let mut members = self.words.iter().map(|word| word.leave.member().serial());
        let first = members.next();
        members.any(|serial| Some(serial) != first)
    }
}

impl Hearsay {
    /// Keeps a word against the member of `leave`, for an attempt that `began` then and failed `at` that time.
    /// `silent` says that there was none.
    pub(crate) fn note(&self, mut leave: Leave, (began, at): (Instant, Instant), silent: bool) {
        // Nobody knows when this is settled: other trials need not wait for it.
        leave.vacate();
        let mut held = self.held.lock();
        held.expire(at);
        if held.words.len() == CAPACITY {
            held.words.remove(0);
        }
        held.words.push(Word {
            leave,
            began,
            at,
            silent,
        });
        // Relaxed: a chain that stands at this moment began before, so it settles nothing of this.
        self.any.store(true, Ordering::Relaxed);
    }

    /// A chain to `member`, `begun` then, stands: settles all that was said of others before it was begun.
    pub(crate) fn refute(&self, member: &Member, begun: Instant, outage: &Outage) {
        member.accused.clear();
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let now = Instant::now();
        let (settled, alone, cleared) = {
            let mut held = self.held.lock();
            held.expire(now);
            let (alone, cleared) = (!held.is_of_several(), held.cleared);
            let before = |word: &mut Word| word.at <= begun;
            let settled: Vec<Word> = held.words.extract_if(.., before).collect();
            if !alone {
                held.cleared = Some(now);
            }
            self.any.store(!held.words.is_empty(), Ordering::Relaxed);
            (settled, alone, cleared)
        };
        let others = settled
            .into_iter()
            .filter(|word| word.leave.member().serial() != member.serial())
            .filter(|word| !(word.silent && outage.covers(word.began)));
        for word in others {
            let accused = &word.leave.member().accused;
            let clear = alone && cleared.is_none_or(|cleared| word.began > cleared);
            if clear || accused.again(word.began, now) {
                Pool::charge(word.leave, 1, now);
            }
        }
    }

    /// Nobody can be asked about `member`: it is charged with what was said of it, unless others were told against too.
    pub(crate) fn believe(&self, member: &Member, now: Instant) {
        let words = {
            let mut held = self.held.lock();
            held.expire(now);
            let of_it = held
                .words
                .iter()
                .any(|word| word.leave.member().serial() == member.serial());
            if !of_it || held.is_of_several() {
                return;
            }
            std::mem::take(&mut held.words)
        };
        for word in words {
            Pool::charge(word.leave, 1, now);
        }
    }

    /// Whether several members stand accused, so that it may well be the corporate proxy's own trouble.
    pub(crate) fn is_of_several(&self) -> bool {
        self.any.load(Ordering::Relaxed) && self.held.lock().is_of_several()
    }

    /// The corporate proxy itself is down, or another one: what was said before says nothing.
    pub(crate) fn forget(&self) {
        let mut held = self.held.lock();
        let held_before = std::mem::take(&mut *held);
        self.any.store(false, Ordering::Relaxed);
        drop(held);
        // Breakers are told outside of the lock.
        drop(held_before);
    }

    /// A member is no longer there to be judged.
    pub(crate) fn forget_about(&self, member: &Member) {
        let mut held = self.held.lock();
        let of_it = |word: &mut Word| word.leave.member().serial() == member.serial();
        let words: Vec<Word> = held.words.extract_if(.., of_it).collect();
        drop(held);
        drop(words);
    }
}

/// Whether a member was among several that the corporate proxy told against, and since when that is over.
#[derive(Debug, Default)]
pub(crate) struct Accused {
    any: AtomicBool,
    since: Mutex<Option<Instant>>,
}

impl Accused {
    /// Notes one more word, of an attempt that began then. Says whether it is one too many: the attempt began after the
    /// doubt about the one before was lifted.
    fn again(&self, began: Instant, now: Instant) -> bool {
        let mut since = self.since.lock();
        let again = since.is_some_and(|since| began > since);
        // Of all attempts that ran at once in a time of doubt, one counts.
        if again || since.is_none() {
            *since = Some(now);
        }
        self.any.store(true, Ordering::Relaxed);
        again
    }

    pub(crate) fn clear(&self) {
        if self.any.load(Ordering::Relaxed) {
            let mut since = self.since.lock();
            *since = None;
            self.any.store(false, Ordering::Relaxed);
        }
    }
}
