//! Where there is no `splice(2)`: nothing is ever lent, everything is copied.

use std::io;

use tokio::net::TcpStream;

/// A pipe that cannot exist.
#[derive(Debug)]
pub(in crate::relay) enum Pipe {}

pub(in crate::relay) fn take() -> Option<Pipe> {
    None
}

pub(in crate::relay) fn trim() {}

#[expect(
    clippy::needless_pass_by_ref_mut,
    reason = "as where it has something to change"
)]
impl Pipe {
    pub(in crate::relay) fn held(&self) -> usize {
        match *self {}
    }

    pub(in crate::relay) fn fill(&mut self, _from: &TcpStream, _limit: usize) -> io::Result<usize> {
        match *self {}
    }

    pub(in crate::relay) fn empty(&mut self, _to: &TcpStream) -> io::Result<usize> {
        match *self {}
    }
}
