//! Just enough HTTP/1 for a test peer: heads are read leniently and kept as they came.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// More than any test sends in a head, bytes.
const MAX_HEAD: usize = 1 << 20;

/// A request or response head, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    start: String,
    fields: Vec<(String, String)>,
}

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    Empty,
    Length(u64),
    Chunked,
    UntilClose,
}

impl Head {
    /// The start line.
    #[must_use]
    pub fn start(&self) -> &str {
        &self.start
    }

    /// The n-th word of the start line, or nothing.
    #[must_use]
    pub fn word(&self, n: usize) -> &str {
        self.start.split(' ').nth(n).unwrap_or_default()
    }

    /// The fields in their order, names as they were written.
    #[must_use]
    pub fn fields(&self) -> &[(String, String)] {
        &self.fields
    }

    /// The first field of this name, whatever its case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The head as text, with its empty line.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text
    }

    /// Whether one of the comma-separated members of a field is this token.
    pub(crate) fn has_token(&self, name: &str, token: &str) -> bool {
        self.fields
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .flat_map(|(_, value)| value.split(','))
            .any(|member| member.trim().eq_ignore_ascii_case(token))
    }

    /// Whether the connection may carry another message after this one.
    pub(crate) fn keeps_alive(&self) -> bool {
        let closes = self.has_token("connection", "close") || self.has_token("proxy-connection", "close");
        if self.start.contains("HTTP/1.0") {
            self.has_token("connection", "keep-alive") || self.has_token("proxy-connection", "keep-alive")
        } else {
            !closes
        }
    }

    /// The same head without the fields that `drop` names.
    pub(crate) fn without(mut self, drop: impl Fn(&str) -> bool) -> Self {
        self.fields.retain(|(name, _)| !drop(name));
        self
    }

    /// The same head with another start line.
    pub(crate) fn with_start(mut self, start: String) -> Self {
        self.start = start;
        self
    }

    pub(crate) fn request_body(&self) -> Body {
        self.framed().unwrap_or(Body::Empty)
    }

    pub(crate) fn response_body(&self, method: &str) -> Body {
        let status = self.word(1);
        if method == "HEAD" || status.starts_with('1') || status == "204" || status == "304" {
            return Body::Empty;
        }
        self.framed().unwrap_or(Body::UntilClose)
    }

    fn framed(&self) -> Option<Body> {
        if self.has_token("transfer-encoding", "chunked") {
            return Some(Body::Chunked);
        }
        self.field("content-length")
            .and_then(|value| value.trim().parse().ok())
            .map(Body::Length)
    }
}

/// Reads one head; `None` when the peer closed before its first byte.
pub(crate) async fn read_head<R: AsyncBufRead + Unpin>(reader: &mut R) -> io::Result<Option<Head>> {
    let Some(start) = read_line(reader).await? else {
        return Ok(None);
    };
    let mut head = Head {
        start,
        fields: Vec::new(),
    };
    let mut size = 0;
    loop {
        let line = read_line(reader).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            return Ok(Some(head));
        }
        size += line.len();
        if size > MAX_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let (name, value) = line.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
        head.fields.push((name.to_owned(), value.trim().to_owned()));
    }
}

/// Reads one line without its end; `None` at the end of the stream.
pub(crate) async fn read_line<R: AsyncBufRead + Unpin>(reader: &mut R) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let read = reader.take(MAX_HEAD as u64).read_until(b'\n', &mut line).await?;
    if read == 0 {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}

/// Copies one body with its framing bytes; `seen` is shown the content.
pub(crate) async fn copy_body<R, W>(
    reader: &mut R,
    writer: &mut W,
    body: Body,
    seen: &mut (dyn FnMut(&[u8]) + Send),
) -> io::Result<()>
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin,
{
    match body {
        Body::Empty => Ok(()),
        Body::Length(length) => copy_exactly(reader, writer, length, seen).await,
        Body::UntilClose => loop {
            let bytes = reader.fill_buf().await?;
            if bytes.is_empty() {
                return Ok(());
            }
            seen(bytes);
            writer.write_all(bytes).await?;
            let used = bytes.len();
            reader.consume(used);
        },
        Body::Chunked => loop {
            let line = read_line(reader).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            writer.write_all(format!("{line}\r\n").as_bytes()).await?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(digits, 16).map_err(|_| io::ErrorKind::InvalidData)?;
            if size == 0 {
                return copy_trailers(reader, writer).await;
            }
            copy_exactly(reader, writer, size, seen).await?;
            copy_exactly(reader, writer, 2, &mut |_| {}).await?;
        },
    }
}

async fn copy_trailers<R, W>(reader: &mut R, writer: &mut W) -> io::Result<()>
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        let line = read_line(reader).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        writer.write_all(format!("{line}\r\n").as_bytes()).await?;
        if line.is_empty() {
            return Ok(());
        }
    }
}

async fn copy_exactly<R, W>(
    reader: &mut R,
    writer: &mut W,
    length: u64,
    seen: &mut (dyn FnMut(&[u8]) + Send),
) -> io::Result<()>
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut left = length;
    while left > 0 {
        let bytes = reader.fill_buf().await?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let now = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let part = bytes.get(..now).unwrap_or_default();
        seen(part);
        writer.write_all(part).await?;
        reader.consume(now);
        left -= now as u64;
    }
    Ok(())
}
