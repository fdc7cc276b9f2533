//! Reading a hop's answers: heads, and the bodies of those behind which the talk goes on.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::auth::Offers;
use super::http1::{
    Body, BodyLength, Fields, HeadScan, Strictness, Trailers, Version, read_response, response_body, slots,
};
use super::{HandshakeError, Reason};

/// The most bytes of an answer's head.
const MAX_HEAD: usize = 64 * 1024;

/// The most interim answers before a final one.
const MAX_INTERIM: u8 = 16;

/// The most bytes of a 407's body that are read to keep its connection.
const MAX_DRAINED: usize = 256 * 1024;

/// What a hop answered, as far as it matters here.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) reason: Reason,
    /// What a 407 offers.
    pub(super) offers: Offers,
    /// What follows the head; of answers that are no 407 it is not looked at.
    pub(super) rest: Rest,
    /// The bytes of its head.
    pub(super) length: usize,
}

/// How the connection goes on behind a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Another request may follow behind this body.
    Keeps(BodyLength),
    /// As before, but an HTTP/1.0 hop did not say that it would keep the connection.
    Silent(BodyLength),
    /// The connection ends.
    Closes,
}

/// Finds the final answer among what a hop sends.
#[derive(Debug)]
pub(super) struct Answers {
    scan: HeadScan,
    interim: u8,
    /// The request was a HEAD, whose answers have no body.
    to_head: bool,
}

impl Answers {
    pub(super) fn new(to_head: bool) -> Self {
        Self {
            scan: scan(),
            interim: 0,
            to_head,
        }
    }

    /// Looks for a final answer at the front of `received`, which holds everything since the last consumed byte.
    /// Adds the bytes of interim answers to `skipped`, which have to be consumed whatever comes.
    pub(super) fn read(
        &mut self,
        mut received: &[u8],
        skipped: &mut usize,
    ) -> Result<Option<Answer>, HandshakeError> {
        loop {
            // Noise is told by its first bytes: waiting for the end of a head that never comes would call it slow.
            if !could_be_answer(received.get(self.scan.start()..).unwrap_or_default()) {
                return Err(HandshakeError::Malformed("bytes that are no HTTP"));
            }
            let Some(end) = self.scan.advance(received)? else {
                return Ok(None);
            };
            let head = received.get(self.scan.start()..end).unwrap_or_default();
            self.scan = scan();
            let answer = self.parse(head, end)?;
            // 101 is no interim answer to anything that was asked.
            if !matches!(answer.status, 100 | 102..=199) {
                return Ok(Some(answer));
            }
            self.interim = self.interim.saturating_add(1);
            if self.interim > MAX_INTERIM {
                return Err(HandshakeError::Malformed("one interim answer after the other"));
            }
            *skipped = skipped.saturating_add(end);
            received = received.get(end..).unwrap_or_default();
        }
    }

    fn parse(&self, head: &[u8], length: usize) -> Result<Answer, HandshakeError> {
        let mut slots = slots();
        let head = read_response(head, &mut slots)?;
        let asks = head.status == 407;
        let rest = if asks || self.to_head {
            rest(head.version, head.status, self.to_head, head.fields)
        } else {
            Rest::Closes
        };
        let offers = if asks {
            Offers::read(head.fields)
        } else {
            Offers::default()
        };
        Ok(Answer {
            status: head.status,
            reason: Reason::new(head.reason),
            offers,
            rest,
            length,
        })
    }
}

fn scan() -> HeadScan {
    HeadScan::new(Strictness::BareLf, MAX_HEAD)
}

/// Whether these first bytes could begin an answer, empty lines before it included.
fn could_be_answer(bytes: &[u8]) -> bool {
    let begins = bytes
        .iter()
        .position(|byte| !matches!(byte, b'\r' | b'\n'))
        .unwrap_or(bytes.len());
    let line = bytes.get(begins..).unwrap_or_default();
    line.iter().zip(b"HTTP/").all(|(byte, due)| byte == due)
}

fn rest(version: Version, status: u16, to_head: bool, fields: Fields<'_, '_>) -> Rest {
    let says = |token| fields.has_token("connection", token) || fields.has_token("proxy-connection", token);
    match response_body(version, status, to_head, fields) {
        // Of a body whose end nobody can tell nothing is used: the connection is given up.
        Err(_) | Ok(BodyLength::UntilClose) => Rest::Closes,
        Ok(_) if says("close") => Rest::Closes,
        Ok(body) if version == Version::Http10 && !says("keep-alive") => Rest::Silent(body),
        Ok(body) => Rest::Keeps(body),
    }
}

/// A body that is read and thrown away.
#[derive(Debug)]
pub(super) struct Drain {
    body: Body,
    drained: usize,
}

impl Drain {
    pub(super) fn new(length: BodyLength) -> Self {
        Self {
            body: Body::new(length, Trailers::Unwrap),
            drained: 0,
        }
    }

    /// Takes what belongs to the body from the front of `received`; answers how many bytes.
    pub(super) fn take(&mut self, received: &[u8]) -> Result<usize, HandshakeError> {
        // The filter works in place; bodies of 407s are small and rare, so a copy is cheap.
        let taken = self.body.filter(&mut received.to_vec())?.consumed;
        self.drained = self.drained.saturating_add(taken);
        if self.drained > MAX_DRAINED {
            return Err(HandshakeError::Malformed("407 with an endless body"));
        }
        Ok(taken)
    }

    pub(super) fn is_done(&self) -> bool {
        self.body.is_done()
    }
}
