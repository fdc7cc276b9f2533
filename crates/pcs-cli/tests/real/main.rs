//! The `pcs` binary between real clients and real proxies.
