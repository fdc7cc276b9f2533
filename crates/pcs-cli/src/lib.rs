//! The pcs command: the composition root of the Proxy Chain Server.
