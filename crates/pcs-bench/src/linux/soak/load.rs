//! Many clients at once, each doing something else each time.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::client::{Client, Trouble};

const CLIENTS: u64 = 24;
/// What is remembered of things that must never happen.
const REMEMBERED: usize = 20;
const MIB: u64 = 1024 * 1024;

/// What clients saw.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    pub(crate) done: u64,
    pub(crate) refused: u64,
    pub(crate) cut: u64,
    pub(crate) wrong: u64,
    /// Some of what must never happen.
    pub(crate) examples: Vec<String>,
    /// Some of what is allowed only in chaos.
    pub(crate) troubles: Vec<String>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            done,
            refused,
            cut,
            wrong,
            ..
        } = self;
        write!(f, "{done} done, {refused} refused, {cut} cut, {wrong} wrong")
    }
}

impl Tally {
    fn count(&mut self, what: &str, result: Result<(), Trouble>) {
        match result {
            Ok(()) => self.done += 1,
            Err(Trouble::Refused(status)) => {
                self.refused += 1;
                remember(&mut self.troubles, || format!("{what}: refused with {status}"));
            }
            Err(Trouble::Cut) => {
                self.cut += 1;
                remember(&mut self.troubles, || format!("{what}: cut"));
            }
            Err(Trouble::Wrong(why)) => {
                self.wrong += 1;
                remember(&mut self.examples, || format!("{what}: {why}"));
            }
        }
    }

    fn add(&mut self, other: Self) {
        self.done += other.done;
        self.refused += other.refused;
        self.cut += other.cut;
        self.wrong += other.wrong;
        self.examples.extend(other.examples);
        self.examples.truncate(REMEMBERED);
        self.troubles.extend(other.troubles);
        self.troubles.truncate(REMEMBERED);
    }
}

fn remember(list: &mut Vec<String>, text: impl FnOnce() -> String) {
    if list.len() < REMEMBERED {
        list.push(text());
    }
}

/// Clients at work.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Tally>>,
}

impl Load {
    pub(crate) fn start(proxy: SocketAddr, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |number: u64| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || work(proxy, &stop, Dice::new(seed.wrapping_add(number << 32))))
        };
        let clients = (1..=CLIENTS).map(client).collect();
        Self { stop, clients }
    }

    /// Lets it go on for a while, then collects what was seen.
    pub(crate) fn stop_after(self, time: Duration) -> Tally {
        std::thread::sleep(time);
        // Relaxed: nothing else is read through it.
        self.stop.store(true, Ordering::Relaxed);
        let mut tally = Tally::default();
        for client in self.clients {
            match client.join() {
                Ok(seen) => tally.add(seen),
                Err(_) => tally.count("a client", Err(Trouble::Wrong("it panicked".to_owned()))),
            }
        }
        tally
    }
}

fn work(proxy: SocketAddr, stop: &AtomicBool, mut dice: Dice) -> Tally {
    let mut tally = Tally::default();
    while !stop.load(Ordering::Relaxed) {
        let (what, result) = once(proxy, &mut dice);
        // Failures must not make a storm of retries out of the load.
        let pause = if result.is_ok() { 3 } else { 50 };
        tally.count(what, result);
        std::thread::sleep(Duration::from_millis(dice.up_to(pause)));
    }
    tally
}

fn once(proxy: SocketAddr, dice: &mut Dice) -> (&'static str, Result<(), Trouble>) {
    match dice.up_to(100) {
        0..=39 => (
            "small tunnel",
            Client::tunnel(proxy, None).and_then(|mut tunnel| tunnel.who().map(drop)),
        ),
        40..=54 => {
            let session = format!("session-{}", dice.up_to(50));
            let tunnel = Client::tunnel(proxy, Some(&session));
            (
                "sticky tunnel",
                tunnel.and_then(|mut tunnel| tunnel.who().map(drop)),
            )
        }
        55..=64 => {
            let size = dice.up_to(4 * MIB);
            (
                "pull",
                Client::tunnel(proxy, None).and_then(|mut tunnel| tunnel.pull(size)),
            )
        }
        65..=74 => {
            let size = dice.up_to(4 * MIB);
            (
                "push",
                Client::tunnel(proxy, None).and_then(|mut tunnel| tunnel.push(size)),
            )
        }
        75..=79 => {
            let size = dice.up_to(16 * MIB);
            (
                "vanishing client",
                Client::tunnel(proxy, None).and_then(|mut tunnel| tunnel.vanish(size)),
            )
        }
        80..=83 => ("quiet tunnel", quiet(proxy, dice)),
        _ => {
            let sizes: Vec<u64> = (0..=dice.up_to(5)).map(|_| dice.up_to(200_000)).collect();
            let upload = 1 + dice.up_to(300_000);
            ("plain requests", Client::requests(proxy, &sizes, upload))
        }
    }
}

/// A tunnel that is silent for a while between two transfers.
fn quiet(proxy: SocketAddr, dice: &mut Dice) -> Result<(), Trouble> {
    let mut tunnel = Client::tunnel(proxy, None)?;
    tunnel.pull(dice.up_to(100_000))?;
    std::thread::sleep(Duration::from_millis(dice.up_to(800)));
    tunnel.push(dice.up_to(100_000))?;
    tunnel.who().map(drop)
}

/// Chance that is the same in each run with the same seed.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below the limit.
    pub(crate) fn up_to(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(23) % limit.max(1)
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        let at = usize::try_from(self.up_to(of.len() as u64)).ok()?;
        of.get(at).copied()
    }
}
