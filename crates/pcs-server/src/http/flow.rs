//! One message on its way: a head that is already written, and its body out of a buffer.

use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pcs_tunnel::wire::http1::{Body, BodyError};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::buffer::Input;

/// A message that is being passed on.
pub(super) struct Flow {
    /// The head, as it goes out.
    head: Vec<u8>,
    head_sent: usize,
    body: Body,
    /// The body was closed by the end of its connection.
    ended: bool,
    /// Bytes at the front of the input that are to be written, and how many of them are.
    ready: usize,
    written: usize,
    /// Bytes at the front of the input that are dealt with once the ready ones are written.
    consumed: usize,
    /// The trailer section.
    tail: Vec<u8>,
    tail_sent: usize,
    /// Bytes written, head and body.
    pub(super) sent: u64,
    /// Whether anything of the body was written.
    pub(super) body_began: bool,
    moved: bool,
    /// What broke it off; told once what was in hand is written.
    fault: Option<FlowError>,
}

/// What broke a message off.
#[derive(Debug)]
pub(super) enum FlowError {
    /// Its source failed, or ended before the body did.
    Source,
    /// Its destination failed.
    Sink,
    /// Its framing is broken.
    Framing(BodyError),
}

impl Flow {
    pub(super) fn new(head: Vec<u8>, body: Body) -> Self {
        Self {
            head,
            head_sent: 0,
            body,
            ended: false,
            ready: 0,
            written: 0,
            consumed: 0,
            tail: Vec::new(),
            tail_sent: 0,
            sent: 0,
            body_began: false,
            moved: false,
            fault: None,
        }
    }

    /// Whether anything went on since the last call.
    pub(super) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Whether bytes are in hand that the destination does not take.
    pub(super) fn is_blocked_by_sink(&self) -> bool {
        self.has_unsent()
    }

    fn is_read(&self) -> bool {
        self.ended || self.body.is_done()
    }

    fn has_unsent(&self) -> bool {
        self.head_sent < self.head.len() || self.written < self.ready || self.tail_sent < self.tail.len()
    }

    /// Moves what can be moved. Ready when the whole message is written.
    pub(super) fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut R,
        sink: &mut W,
        input: &mut Input,
    ) -> Poll<Result<(), FlowError>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            if self.ready == 0 && self.fault.is_none() && !self.is_read() {
                if !input.is_empty() {
                    self.fault = self.take_from(input).map_err(FlowError::Framing).err();
                    continue;
                }
                // Asked for before a lone head is written: the two may go out together.
                match self.read(cx, source, input) {
                    Poll::Ready(result) => {
                        self.fault = result.err();
                        continue;
                    }
                    Poll::Pending if self.has_unsent() => {}
                    Poll::Pending => {
                        // What was written so far may be all the other side needs to go on.
                        ready!(Pin::new(sink).poll_flush(cx)).map_err(|_| FlowError::Sink)?;
                        return Poll::Pending;
                    }
                }
            }
            if !self.has_unsent()
                && let Some(fault) = self.fault.take()
            {
                return Poll::Ready(Err(fault));
            }
            if !self.has_unsent() {
                return Pin::new(sink).poll_flush(cx).map_err(|_| FlowError::Sink);
            }
            ready!(self.write(cx, sink, input))?;
        }
    }

    /// Follows the body through the bytes that are in the buffer.
    fn take_from(&mut self, input: &mut Input) -> Result<(), BodyError> {
        let step = self.body.filter(input.unread_mut())?;
        (self.ready, self.written, self.consumed) = (step.kept, 0, step.consumed);
        if self.body.is_done() {
            self.tail = self.body.take_tail();
        }
        self.settle(input);
        Ok(())
    }

    fn read<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut R,
        input: &mut Input,
    ) -> Poll<Result<(), FlowError>> {
        let is_long = match self.body {
            Body::Exact(left) => left > LONG,
            Body::Chunked(_) | Body::UntilClose => self.sent > LONG,
        };
        if is_long {
            input.go_bulk();
        }
        match ready!(input.poll_fill(cx, source)) {
            Ok(0) if self.body.ends_with_connection() => self.ended = true,
            Ok(0) => return Poll::Ready(Err(FlowError::Source)),
            Ok(_) => self.moved = true,
            Err(_) => return Poll::Ready(Err(FlowError::Source)),
        }
        Poll::Ready(Ok(()))
    }

    fn write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut W,
        input: &mut Input,
    ) -> Poll<Result<(), FlowError>> {
        let head = self.head.get(self.head_sent..).unwrap_or_default();
        let body = input.unread().get(self.written..self.ready).unwrap_or_default();
        let tail = self.tail.get(self.tail_sent..).unwrap_or_default();
        let parts = [IoSlice::new(head), IoSlice::new(body), IoSlice::new(tail)];
        let mut parts = parts.as_slice();
        // A plain write is cheaper where there is but one part, and all that some streams know.
        while let Some((first, rest)) = parts.split_first()
            && first.is_empty()
        {
            parts = rest;
        }
        let written = if parts.iter().skip(1).all(|part| part.is_empty()) || !sink.is_write_vectored() {
            let first = parts.first().map_or(&[][..], |part| part);
            Pin::new(sink).poll_write(cx, first)
        } else {
            Pin::new(sink).poll_write_vectored(cx, parts)
        };
        let written = ready!(written).map_err(|_| FlowError::Sink)?;
        if written == 0 {
            return Poll::Ready(Err(FlowError::Sink));
        }
        self.advance(written);
        self.settle(input);
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, written: usize) {
        self.moved = true;
        self.sent += written as u64;
        let of_head = written.min(self.head.len() - self.head_sent);
        self.head_sent += of_head;
        let of_body = (written - of_head).min(self.ready - self.written);
        self.written += of_body;
        self.tail_sent += written - of_head - of_body;
        self.body_began |= written > of_head;
    }

    /// Drops from the buffer what is written.
    fn settle(&mut self, input: &mut Input) {
        if self.written == self.ready {
            input.consume(self.consumed);
            (self.ready, self.written, self.consumed) = (0, 0, 0);
        }
    }
}

/// From here on a body is worth a large buffer, in bytes.
const LONG: u64 = 16 * 1024;
