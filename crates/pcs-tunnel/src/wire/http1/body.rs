//! Following a body through buffers.

use thiserror::Error;

use super::{BodyLength, Chunked, Trailers};

/// Why a body cannot be followed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BodyError {
    /// A chunk size that is no hexadecimal number of at most 64 bits.
    #[error("a chunk size is no hexadecimal number")]
    BadSize,
    /// A chunk that does not end, or whose size line does not end, with CRLF.
    #[error("a chunk does not end with CRLF")]
    BadLineEnd,
    /// A chunk extension longer than anybody sends, or with control characters.
    #[error("a chunk extension is too long or holds a control character")]
    BadExtension,
    /// A trailer section that is too large or breaks the grammar of fields.
    #[error("the trailer section is too large or malformed")]
    BadTrailer,
}

/// What a step did to a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filtered {
    /// Bytes at the front of the buffer that are dealt with.
    pub consumed: usize,
    /// Bytes at the front of the buffer that are to be sent on; never more than `consumed`.
    pub kept: usize,
}

/// The rest of a body.
#[derive(Debug)]
pub enum Body {
    /// So many bytes are due.
    Exact(u64),
    /// Chunks are due.
    Chunked(Box<Chunked>),
    /// Bytes are due until the connection ends.
    UntilClose,
}

impl Body {
    /// The body that a head announced; `trailers` says what becomes of its chunk framing.
    #[must_use]
    pub fn new(length: BodyLength, trailers: Trailers) -> Self {
        match length {
            BodyLength::None => Self::Exact(0),
            BodyLength::Exact(length) => Self::Exact(length),
            BodyLength::Chunked => Self::Chunked(Box::new(Chunked::new(trailers))),
            BodyLength::UntilClose => Self::UntilClose,
        }
    }

    /// Whether its last byte was seen. One that ends with the connection never says so.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match self {
            Self::Exact(left) => *left == 0,
            Self::Chunked(chunked) => chunked.is_done(),
            Self::UntilClose => false,
        }
    }

    /// Whether it may be over when the connection ends now.
    #[must_use]
    pub fn ends_with_connection(&self) -> bool {
        matches!(self, Self::UntilClose)
    }

    /// Takes what belongs to the body from the front of `buf`, in place: what is to be sent on stands in
    /// `buf[..kept]` afterwards, the rest of the buffer begins at `buf[consumed..]`.
    ///
    /// # Errors
    ///
    /// The framing is broken; nothing more can be told about this connection.
    pub fn filter(&mut self, buf: &mut [u8]) -> Result<Filtered, BodyError> {
        match self {
            Self::Exact(left) => {
                let take = usize::try_from(*left).map_or(buf.len(), |left| left.min(buf.len()));
                *left -= take as u64;
                Ok(Filtered {
                    consumed: take,
                    kept: take,
                })
            }
            Self::Chunked(chunked) => chunked.filter(buf),
            Self::UntilClose => Ok(Filtered {
                consumed: buf.len(),
                kept: buf.len(),
            }),
        }
    }

    /// Bytes to be sent behind the last kept ones, once: the trailer section of a chunked body.
    pub fn take_tail(&mut self) -> Vec<u8> {
        match self {
            Self::Chunked(chunked) => chunked.take_tail(),
            Self::Exact(_) | Self::UntilClose => Vec::new(),
        }
    }
}
