//! Protocols as bytes: no IO, no clock, no randomness of their own.

pub mod http1;
