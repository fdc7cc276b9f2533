//! One request and its answer on one upstream, both directions at once.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use pcs_tunnel::ChainStream;
use pcs_tunnel::wire::http1::{BodyError, HeadError, HeadScan, Strictness};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::flow::{Flow, FlowError};
use crate::buffer::Input;

/// Everything an exchange reads and writes.
pub(super) struct Ends<'a> {
    pub(super) client: &'a mut TcpStream,
    /// Bytes of the client.
    pub(super) input: &'a mut Input,
    pub(super) upstream: &'a mut ChainStream,
    /// Bytes of the upstream.
    pub(super) output: &'a mut Input,
}

/// The request on its way up.
pub(super) struct Upload {
    pub(super) flow: Flow,
    pub(super) state: Progress,
    pub(super) has_body: bool,
}

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Running,
    /// Written whole.
    Done,
    /// The upstream takes no more of it. It may have answered all the same.
    Broken,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// When the answer's head has to be there; from the last body byte on, where there is a body.
    pub(super) deadline: Instant,
    /// When this try has to give way to another.
    pub(super) attempt: Option<Instant>,
    /// How long after its last body byte a request is answered.
    pub(super) budget: Duration,
    /// How long a body may be silent.
    pub(super) idle: Duration,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The upstream said nothing in time, or took nothing.
    Slow,
    /// The upstream ended the connection.
    Broke(io::Error),
    /// What the upstream said is no head.
    Malformed(HeadError),
    /// The client's body stalled.
    ClientSlow,
    /// The client went away.
    ClientGone,
    /// The client's body is not well-formed.
    ClientMalformed(BodyError),
}

/// Why a body did not reach the client whole.
#[derive(Debug)]
pub(super) enum Cut {
    ClientGone,
    Upstream,
    Idle,
}

impl Upload {
    /// Goes on with the request. Only the client's faults are errors: an upstream that takes no more may have
    /// answered already.
    fn poll(&mut self, cx: &mut std::task::Context<'_>, ends: &mut Ends<'_>) -> Result<(), NoAnswer> {
        if self.state != Progress::Running {
            return Ok(());
        }
        match self.flow.poll(cx, ends.client, ends.upstream, ends.input) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => self.state = Progress::Done,
            Poll::Ready(Err(FlowError::Sink)) => self.state = Progress::Broken,
            Poll::Ready(Err(FlowError::Source)) => return Err(NoAnswer::ClientGone),
            Poll::Ready(Err(FlowError::Framing(error))) => return Err(NoAnswer::ClientMalformed(error)),
        }
        Ok(())
    }
}

/// Sends the request and waits for a response head; answers its length in `output`.
///
/// # Cancel safety
///
/// Dropping the future leaves the upstream in an unknown state; it has to be closed.
pub(super) async fn response_head(
    ends: &mut Ends<'_>,
    upload: &mut Upload,
    patience: &mut Patience,
    max_head: usize,
) -> Result<usize, NoAnswer> {
    let mut scan = HeadScan::new(Strictness::BareLf, max_head);
    // A head from before may have brought this one along.
    if let Some(end) = scan.advance(ends.output.unread()).map_err(NoAnswer::Malformed)? {
        return Ok(end);
    }
    let tick = patience.idle / TICKS;
    let mut silent = 0;
    let is_sending = |upload: &Upload| upload.has_body && upload.state == Progress::Running;
    let limit = |patience: &Patience| {
        patience
            .attempt
            .map_or(patience.deadline, |at| at.min(patience.deadline))
    };
    let first = if is_sending(upload) {
        Instant::now() + tick
    } else {
        limit(patience)
    };
    let mut alarm = pin!(sleep_until(first));
    poll_fn(|cx| {
        loop {
            let was_sending = is_sending(upload);
            if let Err(error) = upload.poll(cx, ends) {
                return Poll::Ready(Err(error));
            }
            if was_sending && !is_sending(upload) {
                patience.deadline = Instant::now() + patience.budget;
                alarm.as_mut().reset(limit(patience));
            }
            while let Poll::Ready(read) = ends.output.poll_fill(cx, ends.upstream) {
                match read {
                    Ok(0) => return Poll::Ready(Err(NoAnswer::Broke(io::ErrorKind::UnexpectedEof.into()))),
                    Err(error) => return Poll::Ready(Err(NoAnswer::Broke(error))),
                    Ok(_) => match scan.advance(ends.output.unread()) {
                        Ok(Some(end)) => return Poll::Ready(Ok(end)),
                        Ok(None) => {}
                        Err(error) => return Poll::Ready(Err(NoAnswer::Malformed(error))),
                    },
                }
            }
            if alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if !is_sending(upload) {
                return Poll::Ready(Err(NoAnswer::Slow));
            }
            silent = if upload.flow.take_moved() { 0 } else { silent + 1 };
            if silent >= TICKS {
                let blocked = upload.flow.is_blocked_by_sink();
                return Poll::Ready(Err(if blocked {
                    NoAnswer::Slow
                } else {
                    NoAnswer::ClientSlow
                }));
            }
            alarm.as_mut().reset(Instant::now() + tick);
        }
    })
    .await
}

/// Passes the answer to the client while the request may still be on its way. `progress` is told what was sent up and
/// down so far, whenever there is nothing to move.
///
/// # Cancel safety
///
/// Dropping the future leaves both connections in an unknown state; they have to be closed.
pub(super) async fn response_body(
    ends: &mut Ends<'_>,
    upload: &mut Upload,
    download: &mut Flow,
    idle: Duration,
    mut progress: impl FnMut(u64, u64),
) -> Result<(), Cut> {
    let tick = idle / TICKS;
    let mut silent = 0;
    let mut alarm = pin!(None);
    poll_fn(|cx| {
        loop {
            // A request that breaks off now does not take the answer with it: it is passed as far as it comes.
            if upload.poll(cx, ends).is_err() {
                upload.state = Progress::Broken;
            }
            match download.poll(cx, ends.upstream, ends.client, ends.output) {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(FlowError::Sink)) => return Poll::Ready(Err(Cut::ClientGone)),
                Poll::Ready(Err(FlowError::Source | FlowError::Framing(_))) => {
                    return Poll::Ready(Err(Cut::Upstream));
                }
                Poll::Pending => {}
            }
            progress(upload.flow.sent, download.sent);
            // Most answers come whole, and never need the alarm.
            if alarm.is_none() {
                alarm.set(Some(sleep_until(Instant::now() + tick)));
            }
            let Some(mut waiting) = alarm.as_mut().as_pin_mut() else {
                return Poll::Pending;
            };
            if waiting.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            silent = if download.take_moved() | upload.flow.take_moved() {
                0
            } else {
                silent + 1
            };
            if silent >= TICKS {
                return Poll::Ready(Err(Cut::Idle));
            }
            waiting.as_mut().reset(Instant::now() + tick);
        }
    })
    .await
}

/// Idle time is measured in so many parts: late by one of them at most, without a clock read per byte.
const TICKS: u32 = 8;
