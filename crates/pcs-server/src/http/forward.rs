//! Plain HTTP: each request gets a proxy of its own, its answer is passed on as it comes.

use std::io;

use pcs_models::{Blame, FailureKind, HopName, Retry};
use pcs_tunnel::wire::http1::{Body, BodyLength, HeadError, Trailers, Version};
use pcs_tunnel::{ConnectRequest, Connected, DialError, Form, Purpose, Verdict, Via};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::ask::ForwardAsk;
use super::exchange::{self, Ends, NoAnswer, Patience, Progress, Upload};
use super::fields::keeps_trailer;
use super::flow::Flow;
use super::response::Reply;
use super::{After, Pinned, Session};
use crate::access::RequestKind;
use crate::answer::{Answer, Persistence};
use crate::buffer::Input;
use crate::door::dial;
use crate::shared::Live;
use crate::ticket::{Matter, Ticket};

/// An answer that arrived, and the upstream that its body is still to be read from.
pub(super) struct Arrived {
    pub(super) connected: Connected,
    pub(super) output: Input,
    pub(super) reply: Reply,
    pub(super) upload: Upload,
}

/// What a try came to.
enum Try {
    Arrived(Box<Arrived>),
    /// The upstream failed before it answered.
    Failed(DialError, Verdict),
    /// The client is at fault.
    Client(NoAnswer),
}

/// One request being forwarded.
pub(super) struct Forwarding<'s, 'v, 'd> {
    pub(super) session: &'s mut Session<'v, 'd>,
    pub(super) live: &'s Live,
    pub(super) ask: ForwardAsk,
    pub(super) ticket: Ticket,
    request: ConnectRequest,
    /// Where the body begins in the client's bytes, if all of it is there: then it can be sent again.
    whole_body: Option<usize>,
}

/// Forwards the request and passes the answer.
pub(super) async fn serve(session: &mut Session<'_, '_>, live: &Live, ask: ForwardAsk) -> After {
    let matter = Matter::Resource {
        authority: ask.authority.clone(),
        path: ask.path.clone(),
    };
    let mut ticket = session.ticket(RequestKind::Forward, ask.method.clone(), matter);
    ticket.asked_for(ask.parameters.pool.as_ref());
    let whole_body = match ask.body {
        BodyLength::None => true,
        BodyLength::Exact(length) => session.visitor.input.len() as u64 >= length,
        BodyLength::Chunked | BodyLength::UntilClose => false,
    };
    let deadline = ticket.begun() + live.settings.budget;
    let request = ConnectRequest {
        // An upgrade is a conversation with the target: a hop that forwards requests would only drop it.
        purpose: if ask.upgrades {
            Purpose::Tunnel
        } else {
            Purpose::Forward
        },
        pool: ask.parameters.pool.clone(),
        session: ask.parameters.session.clone(),
        replayable: ask.is_idempotent,
        ..ConnectRequest::tunnel(ask.target.clone(), deadline)
    };
    let whole_body = whole_body.then(|| session.visitor.input.mark());
    let mut forwarding = Forwarding {
        session,
        live,
        ask,
        ticket,
        request,
        whole_body,
    };
    match forwarding.run().await {
        Outcome::Over(after) => after,
        Outcome::Switched(arrived) => Box::pin(forwarding.switch(*arrived)).await,
    }
}

/// What became of a request.
pub(super) enum Outcome {
    /// The client has its answer, or never will.
    Over(After),
    /// The target speaks another protocol from here on.
    Switched(Box<Arrived>),
}

impl Forwarding<'_, '_, '_> {
    async fn run(&mut self) -> Outcome {
        // The last answer that another try was to better: it passes if none does.
        let mut held: Option<Box<Arrived>> = None;
        loop {
            let connected = match self.stream().await {
                Ok(connected) => connected,
                Err(error) => return Box::pin(self.settle(held, error)).await,
            };
            match self.attempt(connected).await {
                Try::Arrived(arrived) => match self.judge(arrived) {
                    Ok(arrived) => return self.pass(arrived).await,
                    Err(Unwanted::Answer(arrived)) => held = Some(arrived),
                    Err(Unwanted::Challenge(error, Verdict::Pass)) => {
                        return Box::pin(self.settle(held, error)).await;
                    }
                    Err(Unwanted::Challenge(_, Verdict::Retry)) => {}
                },
                Try::Failed(_, Verdict::Retry) if self.request.replayable => {}
                Try::Failed(error, _) => return Box::pin(self.settle(held, error)).await,
                Try::Client(fault) => return Outcome::Over(Box::pin(self.blame_client(fault)).await),
            }
            if let Some(mark) = self.whole_body {
                self.session.visitor.input.rewind(mark);
            }
        }
    }

    /// A stream: the one this client authenticated on, else whatever the connector has.
    async fn stream(&mut self) -> Result<Connected, DialError> {
        let is_ours = |pinned: &mut Box<Pinned>| {
            pinned.target == self.ask.target && pinned.parameters == self.ask.parameters
        };
        let mut connected = match self.session.pinned.take_if(is_ours) {
            Some(pinned) if !self.ask.upgrades => {
                // Authenticated is authenticated: it stays this client's, whatever this request says.
                self.ask.pins = true;
                Connected {
                    reused: true,
                    ..pinned.connected
                }
            }
            _ => {
                let dialled = dial(self.session.visitor.door, &mut self.request).await;
                dialled.inspect_err(|error| self.ticket.failed(&self.request, error))?
            }
        };
        self.ticket.connected(&self.request, &mut connected);
        Ok(connected)
    }

    /// Sends the request and waits for the head of its answer. Interim answers are passed on the way.
    async fn attempt(&mut self, mut connected: Connected) -> Try {
        let Session { visitor, .. } = &mut *self.session;
        let settings = &self.live.settings;
        let mut output = Input::default();
        let mut upload = self.ask.upload(&connected.form);
        let mut patience = Patience {
            deadline: self.request.deadline,
            // Given up early only for another try, which needs the whole request once more.
            attempt: (self.ask.is_idempotent && self.whole_body.is_some())
                .then(|| connected.outcome.patience())
                .flatten(),
            budget: settings.budget,
            idle: settings.idle_timeout,
        };
        let mut interim = 0;
        let fault = loop {
            let mut ends = Ends {
                client: &mut visitor.client,
                input: &mut visitor.input,
                upstream: &mut connected.stream,
                output: &mut output,
            };
            let max_head = settings.max_head_bytes;
            let length = match exchange::response_head(&mut ends, &mut upload, &mut patience, max_head).await
            {
                Ok(length) => length,
                Err(fault) => break fault,
            };
            let reply = Reply::read(
                output.unread().get(..length).unwrap_or_default(),
                self.ask.wire.to_head,
            );
            output.consume(length);
            self.ticket.down += length as u64;
            match reply {
                Err(text) => {
                    break NoAnswer::Broke(io::Error::new(io::ErrorKind::InvalidData, text));
                }
                Ok(reply) if reply.is_interim() => {
                    interim += 1;
                    if interim > MAX_INTERIM {
                        let text = "too many interim responses";
                        break NoAnswer::Broke(io::Error::new(io::ErrorKind::InvalidData, text));
                    }
                    // HTTP/1.0 knows none (RFC 9110 §15.2).
                    if self.ask.version == Version::Http11 {
                        let head = reply.head(BodyLength::None, Persistence::Keep);
                        let written = timeout(settings.idle_timeout, visitor.client.write_all(&head)).await;
                        if !matches!(written, Ok(Ok(()))) {
                            break NoAnswer::ClientGone;
                        }
                    }
                }
                Ok(reply) => {
                    self.sent(&upload);
                    self.request.deadline = patience.deadline;
                    return Try::Arrived(Box::new(Arrived {
                        connected,
                        output,
                        reply,
                        upload,
                    }));
                }
            }
        };
        self.sent(&upload);
        match fault {
            fault @ (NoAnswer::ClientGone | NoAnswer::ClientSlow | NoAnswer::ClientMalformed(_)) => {
                Try::Client(fault)
            }
            fault => {
                let error = Self::failure(fault, &connected);
                let verdict = connected.outcome.failed(&error);
                Try::Failed(error, verdict)
            }
        }
    }

    /// Notes what of the request went out, and so whether it may go out again.
    fn sent(&mut self, upload: &Upload) {
        self.ticket.up += upload.flow.sent;
        let can_resend = self.whole_body.is_some() || !upload.flow.body_began;
        // "Idempotent, or not one body byte sent": a body of no bytes cannot prove that nothing was done.
        let held_back = upload.has_body && !upload.flow.body_began;
        self.request.replayable = can_resend && (self.ask.is_idempotent || held_back);
    }

    /// What happened upstream, in the one vocabulary.
    fn failure(fault: NoAnswer, connected: &Connected) -> DialError {
        let retry = if connected.reused {
            Retry::Same
        } else {
            Retry::Other
        };
        let (kind, text) = match fault {
            NoAnswer::Slow => (FailureKind::Timeout, "no response in time".to_owned()),
            NoAnswer::Malformed(HeadError::TooLarge) => (
                FailureKind::Protocol,
                "the response head is larger than allowed".to_owned(),
            ),
            NoAnswer::Malformed(error) => (FailureKind::Protocol, format!("not an HTTP response: {error}")),
            NoAnswer::Broke(error) if error.kind() == io::ErrorKind::InvalidData => {
                (FailureKind::Protocol, format!("not an HTTP response: {error}"))
            }
            _ => (
                FailureKind::Reset,
                "the connection ended before a response came".to_owned(),
            ),
        };
        DialError::new(kind, Blame::Target, retry, text).at(speaker(connected))
    }

    /// Whether the answer is the one to pass.
    fn judge(&self, mut arrived: Box<Arrived>) -> Result<Box<Arrived>, Unwanted> {
        let status = arrived.reply.status;
        if status == 407 {
            // It asks for our credentials, and the client has none that it could want.
            let text = "it wants credentials, or other ones than configured";
            let error = DialError::new(FailureKind::Auth, Blame::Target, Retry::Other, text)
                .at(speaker(&arrived.connected))
                .with_status(status);
            let verdict = arrived.connected.outcome.failed(&error);
            let verdict = if self.request.replayable {
                verdict
            } else {
                Verdict::Pass
            };
            return Err(Unwanted::Challenge(error, verdict));
        }
        if status == 101 && !self.ask.upgrades {
            let text = "it switched protocols without being asked";
            let error = DialError::new(FailureKind::Protocol, Blame::Target, Retry::Never, text)
                .at(speaker(&arrived.connected));
            arrived.connected.outcome.failed(&error);
            return Err(Unwanted::Challenge(error, Verdict::Pass));
        }
        let verdict = arrived
            .connected
            .outcome
            .response(status, self.request.replayable);
        if verdict == Verdict::Retry && self.request.replayable {
            return Err(Unwanted::Answer(arrived));
        }
        Ok(arrived)
    }

    /// No further try: the answer that was held back passes, else the failure is told.
    async fn settle(&mut self, held: Option<Box<Arrived>>, error: DialError) -> Outcome {
        if let Some(mut held) = held {
            self.ticket.connected(&self.request, &mut held.connected);
            return self.pass(held).await;
        }
        let mut answer = Answer::to_failure(&error);
        match error.kind() {
            FailureKind::Timeout if self.ticket.up > 0 => answer = answer.with_token("http_response_timeout"),
            FailureKind::Reset if self.ticket.up > 0 => {
                answer = answer.with_token("http_response_incomplete");
            }
            _ => {}
        }
        let mut wire = self.ask.wire;
        // A body of which part was sent leaves nobody knowing where the next request begins.
        let clean = match self.whole_body {
            Some(mark) => {
                self.session.visitor.input.rewind(mark);
                let length = match self.ask.body {
                    BodyLength::Exact(length) => length,
                    BodyLength::None | BodyLength::Chunked | BodyLength::UntilClose => 0,
                };
                self.session.skip_body(Some(length))
            }
            None => false,
        };
        if !clean || answer.closes || self.session.is_draining() {
            wire.connection = Persistence::Close;
        }
        self.session.tell(&mut self.ticket, &answer, wire).await;
        Outcome::Over(if wire.connection == Persistence::Close {
            After::Linger
        } else {
            After::Next
        })
    }

    async fn blame_client(&mut self, fault: NoAnswer) -> After {
        let answer = match fault {
            NoAnswer::ClientSlow => Answer::too_slow_client(),
            NoAnswer::ClientMalformed(error) => Answer::malformed(error.to_string()),
            _ => {
                self.ticket.broke("client_gone");
                self.ticket.finish();
                return After::Close;
            }
        };
        let wire = crate::answer::Wire {
            connection: Persistence::Close,
            ..self.ask.wire
        };
        self.session.tell(&mut self.ticket, &answer, wire).await;
        After::Linger
    }
}

/// An answer that does not pass.
enum Unwanted {
    /// Another try may have a better one.
    Answer(Box<Arrived>),
    /// It is no answer for the client.
    Challenge(DialError, Verdict),
}

/// Whose answer is read on a stream: the last proxy's, or that of the target behind it.
fn speaker(connected: &Connected) -> HopName {
    match (&connected.form, &connected.via) {
        (Form::Origin, _) | (Form::Absolute { .. }, Via::Direct) => HopName::target(),
        (Form::Absolute { .. }, Via::Corporate) => HopName::corporate(),
        (Form::Absolute { .. }, Via::Proxy { id, .. }) => HopName::from(id),
    }
}

impl ForwardAsk {
    /// The request on its way.
    fn upload(&self, form: &Form) -> Upload {
        Upload {
            flow: Flow::new(
                self.head(form),
                Body::new(self.body, Trailers::Keep(keeps_trailer)),
            ),
            state: Progress::Running,
            has_body: !matches!(self.body, BodyLength::None | BodyLength::Exact(0)),
        }
    }
}

/// The most interim answers of one exchange: nobody needs more, and each puts the client off.
const MAX_INTERIM: u32 = 32;
