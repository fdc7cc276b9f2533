//! CONNECT: a chain is built, the client is told, and the rest is relaying.

use bytes::Bytes;
use pcs_tunnel::ConnectRequest;

use super::ask::ConnectAsk;
use super::{After, Session};
use crate::access::RequestKind;
use crate::answer::{Answer, Persistence, proxy_status};
use crate::door::dial;
use crate::shared::Live;
use crate::ticket::Matter;
use crate::tunnel::Standing;

/// Builds the chain and answers.
pub(super) async fn serve(session: &mut Session<'_, '_>, live: &Live, ask: ConnectAsk) -> After {
    // A block of its own: what the dial needs is not held while the client is told.
    let announcement = {
        let ConnectAsk {
            target,
            parameters,
            mut wire,
        } = ask;
        let matter = Matter::Tunnel(target.clone());
        let mut ticket = session.ticket(RequestKind::Tunnel, "CONNECT".into(), matter);
        ticket.asked_for(parameters.pool.as_ref());
        let mut request = ConnectRequest::tunnel(target, ticket.begun() + live.settings.budget);
        (request.pool, request.session) = (parameters.pool, parameters.session);
        match dial(session.visitor.door, &mut request).await {
            Ok(mut connected) => {
                ticket.connected(&request, &mut connected);
                let visitor = &mut *session.visitor;
                let early = Bytes::copy_from_slice(visitor.input.unread());
                visitor.input.consume(early.len());
                visitor.input.release();
                let mut head = String::with_capacity(128);
                head.push_str("HTTP/1.1 200 Connection Established\r\nProxy-Status: ");
                proxy_status(&mut head, ticket.next_hop(), ticket.attempts, None);
                head.push_str("\r\n\r\n");
                Standing::announce(&mut visitor.client, head.into(), 200, early, connected, ticket)
            }
            Err(error) => {
                ticket.failed(&request, &error);
                // What a client sent ahead was meant for the target, and must not be read as its next request.
                if !session.visitor.input.is_empty() || session.is_draining() {
                    wire.connection = Persistence::Close;
                }
                let answer = Answer::to_failure(&error);
                Box::pin(session.tell(&mut ticket, &answer, wire)).await;
                return if wire.connection == Persistence::Close {
                    After::Linger
                } else {
                    After::Next
                };
            }
        }
    };
    announcement.await.map_or(After::Close, After::Tunnel)
}
