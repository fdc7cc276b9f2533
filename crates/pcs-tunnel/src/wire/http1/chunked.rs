//! The chunked coding (RFC 9112 §7.1), followed and cleaned in place.

use super::{BodyError, Filtered, HeadScan, Strictness};

/// The most bytes of a trailer section.
const MAX_TRAILER: usize = 16 * 1024;

/// The most fields of a trailer section.
const MAX_TRAILER_FIELDS: usize = 64;

/// The most bytes of one chunk's extensions.
const MAX_EXTENSION: u16 = 4096;

/// What becomes of chunk framing and trailers.
#[derive(Debug, Clone, Copy)]
pub enum Trailers {
    /// Chunks stay chunks (without extensions), trailer fields stay if `keep` says so.
    Keep(fn(&str) -> bool),
    /// Only the data stays: the next reader does not know chunks.
    Unwrap,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a size line; the count of digits tells an empty line and an overlong number.
    Size {
        digits: u8,
    },
    /// Behind the digits: white space, then an extension or CR.
    Extension {
        length: u16,
        begun: bool,
    },
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailer,
    Done,
}

/// A chunked body on its way through buffers.
///
/// ```text
/// Size ─▶ Extension ─▶ SizeLf ─▶ Data ─▶ DataCr ─▶ DataLf ─▶ Size …
///                        └─ size 0 ─▶ Trailer ─▶ Done
/// ```
#[derive(Debug)]
pub struct Chunked {
    trailers: Trailers,
    state: State,
    /// Bytes left of the current chunk.
    left: u64,
    /// The trailer section read so far.
    section: Vec<u8>,
    tail: Vec<u8>,
}

impl Chunked {
    /// A body of which nothing was seen.
    #[must_use]
    pub fn new(trailers: Trailers) -> Self {
        Self {
            trailers,
            state: State::Size { digits: 0 },
            left: 0,
            section: Vec::new(),
            tail: Vec::new(),
        }
    }

    /// Whether the last byte of the trailer section was seen.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    pub(super) fn take_tail(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.tail)
    }

    /// See [`super::Body::filter`].
    ///
    /// # Errors
    ///
    /// [`BodyError`] where the coding is broken.
    pub fn filter(&mut self, buf: &mut [u8]) -> Result<Filtered, BodyError> {
        let (mut at, mut kept) = (0, 0);
        let keeps_framing = matches!(self.trailers, Trailers::Keep(_));
        while self.state != State::Done {
            if self.state == State::Data {
                let rest = buf.len() - at;
                let take = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
                // Nothing moves unless something was dropped before it in this very buffer.
                if kept != at {
                    buf.copy_within(at..at + take, kept);
                }
                at += take;
                kept += take;
                self.left -= take as u64;
                if self.left > 0 {
                    break;
                }
                self.state = State::DataCr;
                continue;
            }
            let Some(&byte) = buf.get(at) else { break };
            at += 1;
            let stays = self.step(byte)?;
            if stays && keeps_framing {
                if let Some(place) = buf.get_mut(kept) {
                    *place = byte;
                }
                kept += 1;
            }
        }
        Ok(Filtered { consumed: at, kept })
    }

    /// Takes one byte of framing; answers whether it is part of the clean form.
    fn step(&mut self, byte: u8) -> Result<bool, BodyError> {
        match self.state {
            State::Size { digits } => self.size(byte, digits),
            State::Extension { length, begun } => self.extension(byte, length, begun),
            State::SizeLf => {
                expect(byte, b'\n')?;
                self.state = if self.left == 0 {
                    State::Trailer
                } else {
                    State::Data
                };
                Ok(true)
            }
            State::DataCr => {
                expect(byte, b'\r')?;
                self.state = State::DataLf;
                Ok(true)
            }
            State::DataLf => {
                expect(byte, b'\n')?;
                self.state = State::Size { digits: 0 };
                Ok(true)
            }
            State::Trailer => self.trailer(byte),
            State::Data | State::Done => Ok(false),
        }
    }

    fn size(&mut self, byte: u8, digits: u8) -> Result<bool, BodyError> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if digits > 0 => {
                self.state = State::SizeLf;
                return Ok(true);
            }
            b';' | b' ' | b'\t' if digits > 0 => {
                self.state = State::Extension {
                    length: 0,
                    begun: byte == b';',
                };
                return Ok(false);
            }
            _ => return Err(BodyError::BadSize),
        };
        // 16 hexadecimal digits are 64 bits; leading zeros count, so that a size line is bounded.
        if digits >= 16 {
            return Err(BodyError::BadSize);
        }
        self.left = (self.left << 4) | u64::from(digit);
        self.state = State::Size { digits: digits + 1 };
        Ok(true)
    }

    fn extension(&mut self, byte: u8, length: u16, begun: bool) -> Result<bool, BodyError> {
        match byte {
            b'\r' => {
                self.state = State::SizeLf;
                return Ok(true);
            }
            b' ' | b'\t' | b';' => {}
            0..=31 | 127 => return Err(BodyError::BadExtension),
            _ if begun => {}
            _ => return Err(BodyError::BadSize),
        }
        if length >= MAX_EXTENSION {
            return Err(BodyError::BadExtension);
        }
        self.state = State::Extension {
            length: length + 1,
            begun: begun || byte == b';',
        };
        Ok(false)
    }

    fn trailer(&mut self, byte: u8) -> Result<bool, BodyError> {
        if self.section.len() >= MAX_TRAILER {
            return Err(BodyError::BadTrailer);
        }
        self.section.push(byte);
        if byte != b'\n' {
            return Ok(false);
        }
        let Some(line_end) = self.section.strip_suffix(b"\r\n") else {
            return Err(BodyError::BadLineEnd);
        };
        if line_end.is_empty() || line_end.ends_with(b"\r\n") {
            self.finish()?;
        }
        Ok(false)
    }

    /// The trailer section is complete: proves it and writes what of it stays.
    fn finish(&mut self) -> Result<(), BodyError> {
        self.state = State::Done;
        let section = std::mem::take(&mut self.section);
        let Trailers::Keep(keep) = self.trailers else {
            return check_section(&section, &mut |_, _| {});
        };
        let mut tail = Vec::with_capacity(section.len());
        check_section(&section, &mut |name, value| {
            if keep(name) {
                tail.extend_from_slice(name.as_bytes());
                tail.extend_from_slice(b": ");
                tail.extend_from_slice(value);
                tail.extend_from_slice(b"\r\n");
            }
        })?;
        tail.extend_from_slice(b"\r\n");
        self.tail = tail;
        Ok(())
    }
}

/// Reads a whole trailer section, by the same rules as a head's fields.
fn check_section(section: &[u8], each: &mut dyn FnMut(&str, &[u8])) -> Result<(), BodyError> {
    if section == b"\r\n" {
        return Ok(());
    }
    // The scan refuses bare LF in the section; obs-fold and the rest are httparse's part.
    HeadScan::new(Strictness::Crlf, MAX_TRAILER)
        .advance(section)
        .map_err(|_| BodyError::BadTrailer)?;
    let mut parsed = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
    match httparse::parse_headers(section, &mut parsed) {
        Ok(httparse::Status::Complete((length, fields))) if length == section.len() => {
            for field in fields {
                each(field.name, field.value);
            }
            Ok(())
        }
        _ => Err(BodyError::BadTrailer),
    }
}

fn expect(byte: u8, due: u8) -> Result<(), BodyError> {
    if byte == due {
        Ok(())
    } else {
        Err(BodyError::BadLineEnd)
    }
}
