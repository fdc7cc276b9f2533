//! HTTP/1.1 with a client: heads in order, each answered before the next is read.

mod ask;
mod connect;
mod deliver;
mod exchange;
mod fields;
mod flow;
mod forward;
pub(crate) mod fuzzing;
mod local;
mod outgoing;
mod response;
mod target;

use std::io;

use pcs_models::Target;
use pcs_tunnel::Connected;
use pcs_tunnel::wire::http1::{HeadError, HeadScan, Strictness};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use self::ask::{Ask, Refusal};
use crate::access::RequestKind;
use crate::answer::{Answer, Persistence, Wire};
use crate::door::{HeadPatience, Visitor, linger};
use crate::shared::Live;
use crate::ticket::{Matter, Ticket};
use crate::tunnel::Standing;
use crate::users::Parameters;

/// What becomes of a client's connection after a request.
enum After {
    /// The next head may come.
    Next,
    /// It ends here.
    Close,
    /// It ends here, and bytes of the client may still be on their way.
    Linger,
    /// It is a tunnel now.
    Tunnel(Standing),
}

/// An upstream on which the client authenticated itself to the target, kept for this client alone.
struct Pinned {
    target: Target,
    parameters: Parameters,
    connected: Connected,
}

/// What lives as long as the client's connection.
struct Session<'v, 'd> {
    visitor: &'v mut Visitor<'d>,
    pinned: Option<Box<Pinned>>,
}

/// Why there is no head.
enum NoHead {
    /// The client is gone or has nothing more to say.
    Over,
    /// Too slow.
    Slow,
    /// Not a head.
    Bad(HeadError),
}

/// Serves requests until the connection ends or becomes a tunnel. The first bytes are there already; the first
/// head has its patience from the accept, later ones from their first byte.
pub(crate) async fn serve(visitor: &mut Visitor<'_>, first: HeadPatience) -> Option<Standing> {
    let mut session = Session {
        visitor,
        pinned: None,
    };
    let mut first = Some(first);
    loop {
        if !more_comes(session.visitor).await {
            return None;
        }
        let live = session.visitor.door.shared.live();
        let patience = first
            .take()
            .unwrap_or_else(|| HeadPatience::starting(Instant::now(), live.settings.budget));
        let after = match read_head(session.visitor, &live, patience.deadline).await {
            Ok(length) => session.answer(&live, length).await,
            Err(NoHead::Over) => After::Close,
            // What ends a connection is boxed: it would be most of what each connection holds while it is served.
            Err(NoHead::Slow) => Box::pin(session.refuse_unread(Answer::too_slow_client(), patience)).await,
            Err(NoHead::Bad(error)) => {
                let answer = refusal_of(error, live.settings.max_head_bytes);
                Box::pin(session.refuse_unread(answer, patience)).await
            }
        };
        match after {
            After::Next => {}
            After::Close => return None,
            After::Linger => {
                let _ = Box::pin(linger(&mut session.visitor.client)).await;
                return None;
            }
            After::Tunnel(standing) => return Some(standing),
        }
    }
}

/// Answers a client that has not sent a byte in time.
pub(crate) async fn too_slow(visitor: &mut Visitor<'_>, patience: HeadPatience) {
    let mut session = Session {
        visitor,
        pinned: None,
    };
    session.refuse_unread(Answer::too_slow_client(), patience).await;
    let _ = linger(&mut session.visitor.client).await;
}

/// Waits for the next request, as long as the connection may be idle. No memory is held meanwhile, and no settings:
/// the request meets those of its own time.
async fn more_comes(visitor: &mut Visitor<'_>) -> bool {
    if !visitor.input.is_empty() {
        return true;
    }
    visitor.input.release();
    let door = visitor.door;
    let idle_until = Instant::now() + door.shared.live().settings.idle_timeout;
    let more = async {
        tokio::select! {
            biased;
            read = visitor.input.fill(&mut visitor.client) => read.unwrap_or_default(),
            () = door.draining.cancelled() => 0,
        }
    };
    timeout_at(idle_until, more).await.unwrap_or_default() > 0
}

/// Reads until a head is complete; answers its length, empty lines before it dropped.
async fn read_head(visitor: &mut Visitor<'_>, live: &Live, deadline: Instant) -> Result<usize, NoHead> {
    let mut scan = HeadScan::new(Strictness::Crlf, live.settings.max_head_bytes);
    loop {
        if let Some(end) = scan.advance(visitor.input.unread()).map_err(NoHead::Bad)? {
            let start = scan.start();
            visitor.input.consume(start);
            return Ok(end - start);
        }
        match timeout_at(deadline, visitor.input.fill(&mut visitor.client)).await {
            Ok(Ok(0)) if visitor.input.unread().iter().all(u8::is_ascii_whitespace) => {
                return Err(NoHead::Over);
            }
            Ok(Ok(0)) => return Err(NoHead::Bad(HeadError::Malformed("the head is not complete"))),
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Err(NoHead::Over),
            Err(_) => return Err(NoHead::Slow),
        }
    }
}

fn refusal_of(error: HeadError, max: usize) -> Answer {
    match error {
        HeadError::TooLarge => Answer::head_too_large(max),
        HeadError::TargetTooLong => Answer::target_too_long(max),
        HeadError::TooManyFields => Answer::too_many_fields(),
        error => Answer::malformed(error.to_string()),
    }
}

impl Session<'_, '_> {
    /// Serves the request whose head is the first `length` unread bytes.
    async fn answer(&mut self, live: &Live, length: usize) -> After {
        let ask = ask::read(
            self.visitor.input.unread().get(..length).unwrap_or_default(),
            live,
            self.visitor.peer,
        );
        self.visitor.input.consume(length);
        match ask {
            Ok(Ask::Connect(ask)) => Box::pin(connect::serve(self, live, ask)).await,
            Ok(Ask::Forward(ask)) => Box::pin(forward::serve(self, live, *ask)).await,
            Ok(Ask::Local(ask)) => Box::pin(local::serve(self, live, ask)).await,
            Ok(Ask::Options(ask)) => Box::pin(local::options(self, *ask)).await,
            Err(refusal) => Box::pin(self.refuse(*refusal)).await,
        }
    }

    /// Answers what could not be read as a request. There was no head to count its time from: it took as long as the
    /// client was waited for.
    async fn refuse_unread(&mut self, answer: Answer, patience: HeadPatience) -> After {
        let mut ticket = self.ticket(RequestKind::Local, "-".into(), Matter::Unknown);
        ticket.began(patience.since);
        self.tell(&mut ticket, &answer, Wire::CLOSE).await;
        After::Linger
    }

    /// Answers a request that is not to be followed.
    async fn refuse(&mut self, refusal: Refusal) -> After {
        let Refusal {
            answer,
            kind,
            method,
            matter,
            mut wire,
            body,
        } = refusal;
        // What follows the head is its body, not the next request: the connection can stay only if all of it is
        // here already.
        let skipped = !answer.closes && self.skip_body(body);
        if !skipped || self.is_draining() {
            wire.connection = Persistence::Close;
        }
        let mut ticket = self.ticket(kind, method, matter);
        self.tell(&mut ticket, &answer, wire).await;
        if wire.connection == Persistence::Close {
            After::Linger
        } else {
            After::Next
        }
    }

    /// Writes an answer of ours and closes the request's account.
    async fn tell(&mut self, ticket: &mut Ticket, answer: &Answer, wire: Wire) {
        let mut out = Vec::with_capacity(512);
        answer.write(&mut out, ticket.id, Some(ticket), wire);
        ticket.answered_by_us(answer);
        if self.write(&out).await.is_err() {
            ticket.broke("client_gone");
        }
        ticket.finish();
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let patience = self.visitor.door.shared.live().settings.idle_timeout;
        tokio::time::timeout(patience, self.visitor.client.write_all(bytes)).await?
    }

    /// Drops a body that is here whole; answers whether it was.
    fn skip_body(&mut self, body: Option<u64>) -> bool {
        let Some(length) = body.and_then(|length| usize::try_from(length).ok()) else {
            return false;
        };
        let is_here = self.visitor.input.len() >= length;
        if is_here {
            self.visitor.input.consume(length);
        }
        is_here
    }

    fn ticket(&self, kind: RequestKind, method: std::borrow::Cow<'static, str>, matter: Matter) -> Ticket {
        Ticket::new(&self.visitor.door.shared, self.visitor.peer, kind, method, matter)
    }

    fn is_draining(&self) -> bool {
        self.visitor.door.draining.is_cancelled()
    }
}
