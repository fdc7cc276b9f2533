//! Finding and reading heads.

use std::mem::MaybeUninit;

use thiserror::Error;

use super::Fields;

/// The most fields one head may have.
pub const MAX_FIELDS: usize = 256;

/// The most empty lines that are skipped before a request line (RFC 9112 §2.2 asks for at least one).
const MAX_LEADING_LINES: u8 = 8;

/// Room for the fields of a head, on the stack of whoever reads it.
pub type Slots<'b> = [MaybeUninit<httparse::Header<'b>>; MAX_FIELDS];

/// Empty room for fields.
#[must_use]
pub const fn slots<'b>() -> Slots<'b> {
    [const { MaybeUninit::uninit() }; MAX_FIELDS]
}

/// Why bytes are no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeadError {
    /// It breaks the grammar of RFC 9112; the text says which rule.
    #[error("{0}")]
    Malformed(&'static str),
    /// It is larger than the bound.
    #[error("the head is larger than allowed")]
    TooLarge,
    /// Its request target alone is larger than the bound.
    #[error("the request target is longer than allowed")]
    TargetTooLong,
    /// It has more than [`MAX_FIELDS`] fields.
    #[error("the head has too many fields")]
    TooManyFields,
}

/// The version a peer speaks. Others are refused, save what [`in_known_version`] brings back to these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0: connections close unless asked otherwise, no chunks.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// How line ends are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// CRLF only: requests.
    Crlf,
    /// A bare LF ends a line as well (RFC 9112 §2.2 allows it): responses.
    BareLf,
}

/// Finds the end of a head in bytes that arrive in pieces, looking at each byte once.
#[derive(Debug, Clone)]
pub struct HeadScan {
    strictness: Strictness,
    max: usize,
    /// Where the head begins, behind skipped empty lines.
    start: usize,
    /// Where the current line begins.
    line: usize,
    /// Everything before has been looked at.
    seen: usize,
    /// The length of the first line, once it is complete.
    first_line: Option<usize>,
    leading: u8,
}

impl HeadScan {
    /// A scan for a head of at most `max` bytes.
    #[must_use]
    pub const fn new(strictness: Strictness, max: usize) -> Self {
        Self {
            strictness,
            max,
            start: 0,
            line: 0,
            seen: 0,
            first_line: None,
            leading: 0,
        }
    }

    /// Where the head begins: empty lines before it are not part of it.
    #[must_use]
    pub const fn start(&self) -> usize {
        self.start
    }

    /// Looks at what came since the last call; `buf` holds everything since the first byte. Answers where the
    /// head ends (just behind its empty line), or `None` while it is not complete.
    ///
    /// # Errors
    ///
    /// A bare LF where CRLF is due, more empty lines in front than anybody sends, or more bytes than allowed.
    pub fn advance(&mut self, buf: &[u8]) -> Result<Option<usize>, HeadError> {
        while let Some(offset) = buf
            .get(self.seen..)
            .and_then(|rest| rest.iter().position(|byte| *byte == b'\n'))
        {
            let lf = self.seen + offset;
            self.seen = lf + 1;
            let line = buf.get(self.line..lf).unwrap_or_default();
            let content = match (line.strip_suffix(b"\r"), self.strictness) {
                (Some(content), _) => content,
                (None, Strictness::BareLf) => line,
                (None, Strictness::Crlf) => return Err(HeadError::Malformed("a line ends with a bare LF")),
            };
            self.line = lf + 1;
            if !content.is_empty() {
                self.first_line.get_or_insert(content.len());
                continue;
            }
            if self.first_line.is_some() {
                return if lf + 1 - self.start > self.max {
                    Err(self.oversize(buf))
                } else {
                    Ok(Some(lf + 1))
                };
            }
            self.start = lf + 1;
            self.leading += 1;
            if self.leading > MAX_LEADING_LINES {
                return Err(HeadError::Malformed("too many empty lines before the head"));
            }
        }
        self.seen = buf.len();
        if buf.len() - self.start > self.max {
            return Err(self.oversize(buf));
        }
        Ok(None)
    }

    /// Which part of an oversize head is too large.
    fn oversize(&self, buf: &[u8]) -> HeadError {
        let length = self.first_line.unwrap_or(buf.len() - self.start);
        let line = buf.get(self.start..self.start + length).unwrap_or_default();
        let mut words = line.split(|byte| *byte == b' ');
        // A method alone is never that long; what has no space is no request line at all.
        let target = words.nth(1).map_or(0, <[u8]>::len);
        if self.strictness == Strictness::Crlf && target > 0 && length > self.max {
            HeadError::TargetTooLong
        } else {
            HeadError::TooLarge
        }
    }
}

/// The head of a request, borrowed from its bytes.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'h, 'b> {
    /// The method, case as sent (methods are case-sensitive, RFC 9110 §9.1).
    pub method: &'b str,
    /// The request target, as sent.
    pub target: &'b str,
    /// The version.
    pub version: Version,
    /// The header fields.
    pub fields: Fields<'h, 'b>,
}

/// The head of a response, borrowed from its bytes.
#[derive(Debug, Clone, Copy)]
pub struct ResponseHead<'h, 'b> {
    /// The status, 100 to 599.
    pub status: u16,
    /// The reason phrase, possibly empty.
    pub reason: &'b str,
    /// The version.
    pub version: Version,
    /// The header fields.
    pub fields: Fields<'h, 'b>,
}

/// Reads the request head that `bytes` hold, all of it and nothing else (see [`HeadScan`]).
///
/// # Errors
///
/// Says which rule of RFC 9112 it breaks.
pub fn read_request<'h, 'b>(
    bytes: &'b [u8],
    slots: &'h mut Slots<'b>,
) -> Result<RequestHead<'h, 'b>, HeadError> {
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, slots) {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Ok(_) => {
            return Err(HeadError::Malformed(
                "the head does not end where its empty line is",
            ));
        }
        Err(error) => return Err(explain(error)),
    }
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(HeadError::Malformed("the request line is not complete"));
    };
    Ok(RequestHead {
        method,
        target,
        version: Version::from_minor(version),
        fields: Fields::new(request.headers),
    })
}

/// The request head in `bytes` as one of HTTP/1.1, if it is of a later minor version.
///
/// Such a message is processed as if it were of the highest version that is known (RFC 9110 §2.5). `None` is a head
/// that is fine or bad as it stands.
#[must_use]
pub fn in_known_version(bytes: &[u8]) -> Option<Vec<u8>> {
    let line_end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let minor = line_end.checked_sub(1)?;
    let (line, rest) = bytes.split_at_checked(minor)?;
    if !line.ends_with(b" HTTP/1.") || !matches!(rest.first(), Some(b'2'..=b'9')) {
        return None;
    }
    let mut known = bytes.to_vec();
    *known.get_mut(minor)? = b'1';
    Some(known)
}

/// Reads the response head that `bytes` hold, all of it and nothing else (see [`HeadScan`]).
///
/// # Errors
///
/// Says which rule of RFC 9112 it breaks.
pub fn read_response<'h, 'b>(
    bytes: &'b [u8],
    slots: &'h mut Slots<'b>,
) -> Result<ResponseHead<'h, 'b>, HeadError> {
    let mut response = httparse::Response::new(&mut []);
    let parsed =
        httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, slots);
    match parsed {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Ok(_) => {
            return Err(HeadError::Malformed(
                "the head does not end where its empty line is",
            ));
        }
        Err(error) => return Err(explain(error)),
    }
    let (Some(status), Some(version)) = (response.code, response.version) else {
        return Err(HeadError::Malformed("the status line is not complete"));
    };
    // Over 599 is no class of RFC 9110 §15, but some servers send it and a recipient treats it as a 5xx.
    if !(100..=999).contains(&status) {
        return Err(HeadError::Malformed("the status code is not between 100 and 999"));
    }
    let reason = response.reason.unwrap_or_default();
    Ok(ResponseHead {
        status,
        reason,
        version: Version::from_minor(version),
        fields: Fields::new(response.headers),
    })
}

impl Version {
    fn from_minor(minor: u8) -> Self {
        if minor == 0 { Self::Http10 } else { Self::Http11 }
    }
}

fn explain(error: httparse::Error) -> HeadError {
    HeadError::Malformed(match error {
        httparse::Error::TooManyHeaders => return HeadError::TooManyFields,
        httparse::Error::HeaderName => {
            "a field name holds a character that is not allowed, or space before its colon"
        }
        httparse::Error::HeaderValue => "a field value holds a control character",
        httparse::Error::NewLine => "a line does not end with CRLF",
        httparse::Error::Status => "the status line is not well-formed",
        httparse::Error::Token => "the first line holds a character that is not allowed",
        httparse::Error::Version => "the version is not HTTP/1.x",
    })
}
