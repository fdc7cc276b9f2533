//! Stable ids and fingerprints.

use pcs_models::{Hop, Host, PoolName, ProxyId};

/// FNV-1a, 64 bits: stable across releases, which the standard library's hasher does not promise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fingerprint(u64);

impl Fingerprint {
    pub(crate) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds a text and its end, so that `("ab", "c")` differs from `("a", "bc")`.
    pub(crate) fn text(&mut self, text: &str) {
        for byte in text.bytes().chain([0xff]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) const fn finish(self) -> u64 {
        self.0
    }
}

/// The id of a proxy that was given none: protocol, host, port and a hash of the user name, which itself is not
/// for every log and label.
pub(crate) fn derive_id(hop: &Hop) -> ProxyId {
    let host = match &hop.endpoint.host {
        Host::Name(name) if name.len() <= 63 => name.to_string(),
        Host::Name(name) => {
            let mut print = Fingerprint::new();
            print.text(name);
            format!("host-{:016x}", print.finish())
        }
        Host::Ip(ip) => ip.to_string(),
    };
    let mut id = format!("{}-{host}-{}", hop.protocol, hop.endpoint.port);
    if let Some(credentials) = &hop.credentials {
        let mut print = Fingerprint::new();
        print.text(credentials.username());
        id.push_str(&format!("-{:016x}", print.finish()));
    }
    ProxyId::try_new(&id).expect("protocol, host, port and hex digits are characters of a name")
}

/// The same id for a second pool that holds the same proxy: ids are unique in a process.
pub(crate) fn qualify(id: &ProxyId, pool: &PoolName) -> Option<ProxyId> {
    ProxyId::try_new(&format!("{id}@{pool}")).ok()
}
