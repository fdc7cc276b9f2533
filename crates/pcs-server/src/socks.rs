//! SOCKS5 with a client (RFC 1928, RFC 1929): greeting, login, one CONNECT, then relaying.

pub(crate) mod fuzzing;
mod message;

use bytes::Bytes;
use pcs_tunnel::ConnectRequest;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};

use self::message::{Greeting, LoginMessage, Parsed, RequestError, RequestMessage};
use crate::access::{Rejection, RequestKind};
use crate::answer::{Answer, Reply};
use crate::door::{Visitor, dial, linger};
use crate::shared::Live;
use crate::ticket::{Matter, Ticket};
use crate::tunnel::Standing;
use crate::users::{Login, Parameters};

/// "None of your methods": what is said to a client that is not let in.
pub(crate) const NO_METHOD: [u8; 2] = [5, 0xff];

/// Why a client gets no tunnel. What it had to be told is told already.
struct Over;

/// Serves one SOCKS5 client. Its first byte is there; its request has to be complete by `deadline`.
pub(crate) async fn serve(visitor: &mut Visitor<'_>, deadline: Instant) -> Option<Standing> {
    let live = visitor.door.shared.live();
    let asked = timeout_at(deadline, ask(visitor, &live)).await;
    let Ok(asked) = asked else {
        // There is no reply to half a request.
        visitor
            .door
            .shared
            .access
            .turned_away(visitor.peer, Rejection::HeadTimeout);
        return None;
    };
    let standing = match asked {
        Ok((parameters, target)) => connect(visitor, &live, parameters, target).await,
        Err(Over) => Err(Over),
    };
    match standing {
        Ok(standing) => Some(standing),
        Err(Over) => {
            let _ = linger(&mut visitor.client).await;
            None
        }
    }
}

/// Greeting, login, request.
async fn ask(visitor: &mut Visitor<'_>, live: &Live) -> Result<(Parameters, pcs_models::Target), Over> {
    let greeting = read(visitor, Greeting::parse).await?;
    let users = live.settings.users.as_ref();
    // A client that offers a login has one, and may have written parameters into it.
    let logs_in = greeting.offers(Greeting::LOGIN);
    if !logs_in && (users.is_some() || !greeting.offers(Greeting::NO_LOGIN)) {
        visitor
            .door
            .shared
            .access
            .turned_away(visitor.peer, Rejection::Auth);
        return say(visitor, &NO_METHOD).await.and(Err(Over));
    }
    let mut parameters = Ok(Parameters::default());
    if logs_in {
        say(visitor, &[5, Greeting::LOGIN]).await?;
        let login = read(visitor, LoginMessage::parse).await?;
        let Some(admitted) = Login::check(users, &login.username, &login.password) else {
            visitor
                .door
                .shared
                .access
                .turned_away(visitor.peer, Rejection::Auth);
            return say(visitor, &[1, 1]).await.and(Err(Over));
        };
        parameters = admitted.parameters();
        say(visitor, &[1, 0]).await?;
    } else {
        say(visitor, &[5, Greeting::NO_LOGIN]).await?;
    }
    let refusal = match read(visitor, RequestMessage::parse).await? {
        RequestMessage::Connect(target) => match parameters {
            Ok(parameters) => match live.rate.as_ref().map(|rate| rate.check(visitor.peer.ip())) {
                Some(Err(wait)) => (Some(target), Answer::rate_limited(wait)),
                Some(Ok(())) | None => return Ok((parameters, target)),
            },
            Err(error) => (Some(target), Answer::bad_request(error.to_string())),
        },
        RequestMessage::Refused(error) => (None, refused(error)),
    };
    let (target, answer) = refusal;
    let matter = target.map_or(Matter::Unknown, Matter::Tunnel);
    let ticket = Ticket::new(
        &visitor.door.shared,
        visitor.peer,
        RequestKind::Tunnel,
        "SOCKS5".into(),
        matter,
    );
    tell(visitor, ticket, &answer).await;
    Err(Over)
}

async fn connect(
    visitor: &mut Visitor<'_>,
    live: &Live,
    parameters: Parameters,
    target: pcs_models::Target,
) -> Result<Standing, Over> {
    let matter = Matter::Tunnel(target.clone());
    let mut ticket = Ticket::new(
        &visitor.door.shared,
        visitor.peer,
        RequestKind::Tunnel,
        "SOCKS5".into(),
        matter,
    );
    ticket.asked_for(parameters.pool.as_ref());
    let mut request = ConnectRequest::tunnel(target, ticket.begun() + live.settings.budget);
    (request.pool, request.session) = (parameters.pool, parameters.session);
    match dial(visitor.door, &mut request).await {
        Ok(mut connected) => {
            ticket.connected(&request, &mut connected);
            let early = Bytes::copy_from_slice(visitor.input.unread());
            visitor.input.consume(early.len());
            visitor.input.release();
            let head = message::reply(Reply::Succeeded);
            Standing::announce(&mut visitor.client, head.into(), 200, early, connected, ticket)
                .await
                .ok_or(Over)
        }
        Err(error) => {
            ticket.failed(&request, &error);
            tell(visitor, ticket, &Answer::to_failure(&error)).await;
            Err(Over)
        }
    }
}

fn refused(error: RequestError) -> Answer {
    let reply = match error {
        RequestError::Command => Reply::CommandNotSupported,
        RequestError::AddressType => Reply::AddressNotSupported,
        RequestError::Address(_) | RequestError::Version => Reply::General,
    };
    Answer::bad_request(error.to_string()).with_reply(reply)
}

async fn tell(visitor: &mut Visitor<'_>, mut ticket: Ticket, answer: &Answer) {
    ticket.answered_by_us(answer);
    if visitor
        .client
        .write_all(&message::reply(answer.reply))
        .await
        .is_err()
    {
        ticket.broke("client_gone");
    }
    ticket.finish();
}

async fn say(visitor: &mut Visitor<'_>, bytes: &[u8]) -> Result<(), Over> {
    visitor.client.write_all(bytes).await.map_err(|_| Over)
}

/// Reads one message; messages are short, and their lengths bounded by the protocol.
async fn read<T>(visitor: &mut Visitor<'_>, parse: fn(&[u8]) -> Parsed<T>) -> Result<T, Over> {
    loop {
        match parse(visitor.input.unread()) {
            Parsed::Done(message, length) => {
                visitor.input.consume(length);
                return Ok(message);
            }
            Parsed::Malformed => {
                visitor
                    .door
                    .shared
                    .access
                    .turned_away(visitor.peer, Rejection::BadRequest);
                return Err(Over);
            }
            Parsed::NeedMore => {}
        }
        if visitor.input.fill(&mut visitor.client).await.unwrap_or_default() == 0 {
            return Err(Over);
        }
    }
}
