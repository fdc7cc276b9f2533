//! How a message's body ends (RFC 9112 §6.3).

use thiserror::Error;

use super::{Fields, Version, tokens};

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// There is none, whatever the fields say.
    None,
    /// `Content-Length` bytes, possibly 0.
    Exact(u64),
    /// In chunks, the last of them empty.
    Chunked,
    /// Until the connection is closed (responses only).
    UntilClose,
}

/// Why nobody can tell where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FramingError {
    /// Both `Content-Length` and `Transfer-Encoding`: the classic of request smuggling.
    #[error("both Content-Length and Transfer-Encoding are given")]
    Both,
    /// Several `Content-Length` values that differ.
    #[error("the Content-Length values differ")]
    LengthsDiffer,
    /// A `Content-Length` that is no decimal number of at most 64 bits.
    #[error("the Content-Length is no decimal number")]
    BadLength,
    /// A `Transfer-Encoding` in which `chunked` is not the last coding, stands twice, or has parameters.
    #[error("the Transfer-Encoding does not end with one chunked coding")]
    BadCoding,
    /// A transfer coding besides `chunked`.
    #[error("a transfer coding other than chunked is not supported")]
    UnknownCoding,
    /// A `Transfer-Encoding` from an HTTP/1.0 peer.
    #[error("a Transfer-Encoding in an HTTP/1.0 message cannot be trusted")]
    OldVersion,
}

/// How the body of a request ends.
///
/// # Errors
///
/// Whatever is ambiguous is an error (RFC 9112 §6.1, §6.3).
pub fn request_body(version: Version, fields: Fields<'_, '_>) -> Result<BodyLength, FramingError> {
    let length = content_length(fields)?;
    match transfer_encoding(version, fields)? {
        Coding::None => Ok(length.map_or(BodyLength::None, BodyLength::Exact)),
        Coding::Chunked if length.is_some() => Err(FramingError::Both),
        Coding::Chunked => Ok(BodyLength::Chunked),
        Coding::Other => Err(FramingError::BadCoding),
    }
}

/// How the body of a response with `status` ends; `to_head` says whether the request was a HEAD.
///
/// # Errors
///
/// Whatever is ambiguous is an error; no answer is passed on of which nobody can tell the end.
pub fn response_body(
    version: Version,
    status: u16,
    to_head: bool,
    fields: Fields<'_, '_>,
) -> Result<BodyLength, FramingError> {
    if to_head || matches!(status, 100..=199 | 204 | 304) {
        return Ok(BodyLength::None);
    }
    let length = content_length(fields)?;
    match transfer_encoding(version, fields)? {
        Coding::None => Ok(length.map_or(BodyLength::UntilClose, BodyLength::Exact)),
        Coding::Chunked | Coding::Other if length.is_some() => Err(FramingError::Both),
        Coding::Chunked => Ok(BodyLength::Chunked),
        Coding::Other => Err(FramingError::UnknownCoding),
    }
}

enum Coding {
    None,
    Chunked,
    /// Codings among which `chunked` is not.
    Other,
}

fn transfer_encoding(version: Version, fields: Fields<'_, '_>) -> Result<Coding, FramingError> {
    let mut given = false;
    let (mut count, mut chunked_at) = (0_usize, None);
    for value in fields.all("transfer-encoding") {
        given = true;
        for coding in tokens(value) {
            let name = coding
                .split(|byte| *byte == b';')
                .next()
                .unwrap_or_default()
                .trim_ascii();
            if name.eq_ignore_ascii_case(b"chunked") {
                if chunked_at.is_some() || name.len() != coding.len() {
                    return Err(FramingError::BadCoding);
                }
                chunked_at = Some(count);
            }
            count += 1;
        }
    }
    if !given {
        return Ok(Coding::None);
    }
    if version == Version::Http10 {
        return Err(FramingError::OldVersion);
    }
    match chunked_at {
        Some(0) if count == 1 => Ok(Coding::Chunked),
        Some(at) if at + 1 == count => Err(FramingError::UnknownCoding),
        Some(_) => Err(FramingError::BadCoding),
        None if count == 0 => Err(FramingError::BadCoding),
        None => Ok(Coding::Other),
    }
}

fn content_length(fields: Fields<'_, '_>) -> Result<Option<u64>, FramingError> {
    let mut length = None;
    for value in fields.all("content-length") {
        // Repeats of one value are one value (RFC 9110 §8.6); anything else is somebody's mistake or attack.
        for text in value.split(|byte| *byte == b',') {
            let next = decimal(text.trim_ascii()).ok_or(FramingError::BadLength)?;
            if length.is_some_and(|known| known != next) {
                return Err(FramingError::LengthsDiffer);
            }
            length = Some(next);
        }
    }
    Ok(length)
}

/// Digits only: no sign, no space, no `0x` (`str::parse` would take a `+`).
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}
