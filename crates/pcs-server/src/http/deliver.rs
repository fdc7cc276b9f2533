//! The answer on its way to the client.

use bytes::Bytes;
use pcs_tunnel::Connected;
use pcs_tunnel::wire::http1::{Body, BodyLength, Trailers, Version};

use super::exchange::{self, Cut, Ends, Progress};
use super::fields::keeps_trailer;
use super::flow::Flow;
use super::forward::{Arrived, Forwarding, Outcome};
use super::{After, Pinned};
use crate::answer::Persistence;
use crate::meter::Meter;
use crate::tunnel::Standing;

impl Forwarding<'_, '_, '_> {
    /// Passes the answer to the client.
    pub(super) async fn pass(&mut self, mut arrived: Box<Arrived>) -> Outcome {
        if arrived.reply.status == 101 {
            return Outcome::Switched(arrived);
        }
        let Arrived {
            connected,
            output,
            reply,
            upload,
        } = &mut *arrived;
        let (length, trailers) = match (reply.length, self.ask.version) {
            (BodyLength::Chunked, Version::Http10) => (BodyLength::UntilClose, Trailers::Unwrap),
            (length, _) => (length, Trailers::Keep(keeps_trailer)),
        };
        let mut connection = self.ask.wire.connection;
        // An answer before the end of its request: what of the body is still to come may never do.
        if length == BodyLength::UntilClose || upload.state != Progress::Done || self.session.is_draining() {
            connection = Persistence::Close;
        }
        self.ticket.answered(reply.status);
        let mut download = Flow::new(reply.head(length, connection), Body::new(reply.length, trailers));
        let visitor = &mut self.session.visitor;
        let mut ends = Ends {
            client: &mut visitor.client,
            input: &mut visitor.input,
            upstream: &mut connected.stream,
            output,
        };
        let (up, idle) = (upload.flow.sent, self.live.settings.idle_timeout);
        let before = (self.ticket.up, self.ticket.down);
        let mut meter = Meter::default();
        let passed = exchange::response_body(&mut ends, upload, &mut download, idle, |sent, got| {
            meter.keep_up(&mut *connected.outcome, before.0 + sent - up, before.1 + got);
        })
        .await;
        self.ticket.up += upload.flow.sent - up;
        self.ticket.down += download.sent;
        meter.settle(&mut *connected.outcome, self.ticket.up, self.ticket.down);
        if let Err(cut) = passed {
            return Outcome::Over(self.cut(&cut, length));
        }
        let sent_whole = upload.state == Progress::Done;
        let is_clean =
            reply.is_persistent && sent_whole && output.is_empty() && reply.length != BodyLength::UntilClose;
        if is_clean {
            self.keep(arrived.connected);
        }
        self.ticket.finish();
        Outcome::Over(match connection {
            Persistence::Keep | Persistence::KeepOld => After::Next,
            Persistence::Close if sent_whole => After::Close,
            Persistence::Close => After::Linger,
        })
    }

    /// Gives the upstream back, or keeps it for this client where it is authenticated as this client.
    fn keep(&mut self, connected: Connected) {
        if self.ask.pins {
            self.session.pinned = Some(Box::new(Pinned {
                target: self.ask.target.clone(),
                parameters: self.ask.parameters.clone(),
                connected,
            }));
        } else {
            let Connected { stream, outcome, .. } = connected;
            outcome.park(stream);
        }
    }

    /// The body broke off. Where only the end of the connection ends it, the client must not take that for the
    /// whole: the connection is reset.
    fn cut(&mut self, cut: &Cut, length: BodyLength) -> After {
        self.ticket.broke(match cut {
            Cut::ClientGone => "client_gone",
            Cut::Upstream => "reset",
            Cut::Idle => "idle",
        });
        self.ticket.finish();
        if length == BodyLength::UntilClose {
            let _ = self.session.visitor.client.set_zero_linger();
        }
        After::Close
    }

    /// The target speaks another protocol from here on.
    pub(super) async fn switch(self, arrived: Arrived) -> After {
        let Arrived {
            connected,
            output,
            reply,
            ..
        } = arrived;
        let visitor = &mut *self.session.visitor;
        let said = Bytes::copy_from_slice(output.unread());
        let early = Bytes::copy_from_slice(visitor.input.unread());
        visitor.input.consume(early.len());
        let connected = Connected {
            stream: connected.stream.rewound(said),
            ..connected
        };
        let head = reply.head(BodyLength::None, Persistence::Keep);
        Standing::announce(
            &mut visitor.client,
            head,
            reply.status,
            early,
            connected,
            self.ticket,
        )
        .await
        .map_or(After::Close, After::Tunnel)
    }
}
