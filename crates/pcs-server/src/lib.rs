//! The front door: listeners, CONNECT, plain HTTP, SOCKS5, local authentication, limits, drain.
