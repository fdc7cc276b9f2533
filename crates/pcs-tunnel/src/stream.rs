//! The stream that a chain ends in.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Anything that carries bytes both ways.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// What lies below a [`ChainStream`]. Bare TCP is told apart, because only it can be relayed without copying.
pub enum Io {
    /// A bare TCP socket.
    Tcp(TcpStream),
    /// TLS with a hop, over whatever leads to it.
    Tls(Box<TlsStream<ChainStream>>),
    /// Any other stream (in-memory ones in tests).
    Other(Box<dyn ByteStream>),
}

/// A stream through a chain, and the bytes that came behind the last handshake.
pub struct ChainStream {
    early: Bytes,
    io: Io,
}

impl ChainStream {
    /// A stream without early bytes.
    #[must_use]
    pub fn new(io: Io) -> Self {
        Self {
            early: Bytes::new(),
            io,
        }
    }

    /// The same stream, with `early` to be read before anything else.
    #[must_use]
    pub fn rewound(mut self, early: Bytes) -> Self {
        if self.early.is_empty() {
            self.early = early;
        } else if !early.is_empty() {
            let mut joined = Vec::with_capacity(early.len() + self.early.len());
            joined.extend_from_slice(&early);
            joined.extend_from_slice(&self.early);
            self.early = joined.into();
        }
        self
    }

    /// Puts `early` in front of what is read next.
    pub(crate) fn put_back(&mut self, early: Bytes) {
        let Self { early: behind, .. } = self;
        if behind.is_empty() {
            *behind = early;
        } else {
            *behind = [early, std::mem::take(behind)].concat().into();
        }
    }

    /// Bytes that are read before anything from below.
    #[must_use]
    pub fn early(&self) -> &[u8] {
        &self.early
    }

    /// Early bytes and what lies below, for whoever relays without copying.
    #[must_use]
    pub fn into_parts(self) -> (Bytes, Io) {
        (self.early, self.io)
    }

    /// The same stream, watched by the reactor of the runtime that calls: for whoever takes it over from another
    /// thread's. Only bare TCP moves; anything else stays where it is and works all the same.
    ///
    /// # Errors
    ///
    /// The operating system's, where the socket cannot be registered anew.
    ///
    /// # Panics
    ///
    /// Outside of a runtime with IO.
    pub fn rehomed(self) -> io::Result<Self> {
        let Self { early, io } = self;
        let io = match io {
            Io::Tcp(stream) => Io::Tcp(TcpStream::from_std(stream.into_std()?)?),
            io @ (Io::Tls(_) | Io::Other(_)) => io,
        };
        Ok(Self { early, io })
    }

    /// What lies below.
    #[must_use]
    pub fn io(&self) -> &Io {
        &self.io
    }
}

impl From<TcpStream> for ChainStream {
    fn from(stream: TcpStream) -> Self {
        Self::new(Io::Tcp(stream))
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp(_) => "tcp",
            Self::Tls(_) => "tls",
            Self::Other(_) => "other",
        })
    }
}

impl fmt::Debug for ChainStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainStream")
            .field("io", &self.io)
            .field("early", &self.early.len())
            .finish()
    }
}

macro_rules! each_io {
    ($self:ident, $stream:ident => $call:expr) => {
        match &mut $self.get_mut().io {
            Io::Tcp($stream) => $call,
            Io::Tls($stream) => $call,
            Io::Other($stream) => $call,
        }
    };
}

impl AsyncRead for ChainStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let take = self.early.len().min(buf.remaining());
            buf.put_slice(self.early.get(..take).unwrap_or_default());
            self.early.advance(take);
            return Poll::Ready(Ok(()));
        }
        each_io!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for ChainStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each_io!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each_io!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Tcp(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
            Io::Other(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each_io!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each_io!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
