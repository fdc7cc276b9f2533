//! Proxies that misbehave on purpose, recording origins, runners for real peers. For tests.
