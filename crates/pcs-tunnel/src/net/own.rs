//! Our own listeners, which nothing may dial.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::RwLock;
use pcs_models::{Host, Target};

/// The addresses this process listens on, shared between whoever binds them and whoever dials.
///
/// A dial of one of them would be a loop. Clones share one set.
#[derive(Clone, Default)]
pub struct OwnListeners(Arc<RwLock<Arc<[SocketAddr]>>>);

/// What an address alone tells about a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// It is none of ours.
    None,
    /// A wildcard listener has its port: ours if the address turns out to be this machine's.
    IfLocal,
    /// It is ours.
    Certain,
}

impl OwnListeners {
    /// Replaces the whole set, with the addresses as bound (port 0 resolved).
    pub fn set(&self, listeners: Vec<SocketAddr>) {
        *self.0.write() = listeners.into();
    }

    /// Whether a target is one of our listeners, as far as that can be told without resolving or dialling it:
    /// literal addresses and the names that always mean this machine (RFC 6761 §6.3).
    #[must_use]
    pub fn contains(&self, target: &Target) -> bool {
        match &target.host {
            Host::Ip(ip) => self.suspect(SocketAddr::new(*ip, target.port)) == Suspicion::Certain,
            Host::Name(name) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                (name == "localhost" || name.ends_with(".localhost")) && self.on_loopback(target.port)
            }
        }
    }

    fn on_loopback(&self, port: u16) -> bool {
        let listeners = self.0.read();
        listeners
            .iter()
            .any(|own| own.port() == port && (own.ip().is_loopback() || own.ip().is_unspecified()))
    }

    pub(super) fn suspect(&self, address: SocketAddr) -> Suspicion {
        let ip = address.ip().to_canonical();
        let mut verdict = Suspicion::None;
        for own in self.0.read().iter().filter(|own| own.port() == address.port()) {
            match suspect_one(own.ip().to_canonical(), ip) {
                Suspicion::Certain => return Suspicion::Certain,
                Suspicion::IfLocal => verdict = Suspicion::IfLocal,
                Suspicion::None => {}
            }
        }
        verdict
    }
}

fn suspect_one(own: IpAddr, dialled: IpAddr) -> Suspicion {
    // Dialling 0.0.0.0 or :: means this machine.
    let here = dialled.is_unspecified();
    if own == dialled || (here && own.is_loopback()) {
        return Suspicion::Certain;
    }
    if !own.is_unspecified() {
        return Suspicion::None;
    }
    // `::` listens to IPv4 as well on most systems, `0.0.0.0` never to IPv6.
    if own.is_ipv4() && dialled.is_ipv6() && !here {
        return Suspicion::None;
    }
    if here || dialled.is_loopback() {
        Suspicion::Certain
    } else {
        Suspicion::IfLocal
    }
}

impl fmt::Debug for OwnListeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.read().iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listeners(addresses: &[&str]) -> OwnListeners {
        let own = OwnListeners::default();
        own.set(addresses.iter().map(|address| address.parse().unwrap()).collect());
        own
    }

    #[test]
    fn literal_addresses_are_judged_without_dialling() {
        use Suspicion::{Certain, IfLocal, None};
        let cases = [
            ("127.0.0.1:8888", "127.0.0.1:8888", Certain),
            ("127.0.0.1:8888", "127.0.0.1:8889", None),
            ("127.0.0.1:8888", "127.0.0.2:8888", None),
            ("127.0.0.1:8888", "0.0.0.0:8888", Certain),
            ("127.0.0.1:8888", "[::ffff:127.0.0.1]:8888", Certain),
            ("127.0.0.1:8888", "[::1]:8888", None),
            ("0.0.0.0:8888", "127.3.2.1:8888", Certain),
            ("0.0.0.0:8888", "0.0.0.0:8888", Certain),
            ("0.0.0.0:8888", "[::]:8888", Certain),
            ("0.0.0.0:8888", "192.0.2.7:8888", IfLocal),
            ("0.0.0.0:8888", "[2001:db8::1]:8888", None),
            ("0.0.0.0:8888", "192.0.2.7:80", None),
            ("[::]:8888", "127.0.0.1:8888", Certain),
            ("[::]:8888", "[::1]:8888", Certain),
            ("[::]:8888", "192.0.2.7:8888", IfLocal),
            ("[::1]:8888", "[::]:8888", Certain),
            ("192.0.2.1:8888", "192.0.2.1:8888", Certain),
            ("192.0.2.1:8888", "0.0.0.0:8888", None),
        ];
        for (own, dialled, expected) in cases {
            assert_eq!(
                listeners(&[own]).suspect(dialled.parse().unwrap()),
                expected,
                "{own} <- {dialled}"
            );
        }
    }

    #[test]
    fn targets_are_recognised_by_address_and_by_the_names_of_this_machine() {
        let own = listeners(&["127.0.0.1:8888", "0.0.0.0:9090"]);
        for text in [
            "127.0.0.1:8888",
            "localhost:8888",
            "LocalHost.:8888",
            "x.localhost:9090",
            "127.9.9.9:9090",
        ] {
            assert!(own.contains(&text.parse().unwrap()), "{text}");
        }
        for text in [
            "127.0.0.1:80",
            "localhost:80",
            "notlocalhost:8888",
            "example.com:8888",
            "192.0.2.1:9090",
        ] {
            assert!(!own.contains(&text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_new_set_replaces_the_old_one_for_every_clone() {
        let own = listeners(&["127.0.0.1:1"]);
        let clone = own.clone();
        clone.set(vec!["127.0.0.1:2".parse().unwrap()]);
        assert!(!own.contains(&"127.0.0.1:1".parse().unwrap()));
        assert!(own.contains(&"127.0.0.1:2".parse().unwrap()));
    }
}
