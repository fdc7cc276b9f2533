//! A tunnel that stands: bytes both ways until it ends.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use pcs_models::{Blame, FailureKind, HopName, Retry};
use pcs_tunnel::{ChainStream, Connected, DialError, EndedBy, Outcome, Relay, RelayReport, TunnelRegistry};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::meter::Meter;
use crate::ticket::Ticket;

/// All of a tunnel but the client's socket.
pub(crate) struct Standing {
    /// Bytes of the client that came with its head.
    early: Bytes,
    upstream: ChainStream,
    account: Box<Account>,
}

/// Who has to be told when a tunnel ends.
pub(crate) struct Account {
    outcome: Box<dyn Outcome>,
    ticket: Ticket,
    meter: Meter,
}

impl Standing {
    /// Tells the client that its tunnel stands, with what the upstream has said already behind it in the same
    /// write. `None` where the client is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the stream up.
    pub(crate) fn announce(
        client: &mut TcpStream,
        head: Vec<u8>,
        status: u16,
        early: Bytes,
        connected: Connected,
        ticket: Ticket,
    ) -> impl Future<Output = Option<Self>> {
        let Connected { stream, outcome, .. } = connected;
        let (said, io) = stream.into_parts();
        let mut standing = Self {
            early,
            upstream: ChainStream::new(io),
            account: Box::new(Account {
                outcome,
                ticket,
                meter: Meter::default(),
            }),
        };
        // The future holds the small things only; no flush, for a bare socket has nothing to flush.
        async move {
            let down = said.len() as u64;
            let told: io::Result<()> = client.write_all_buf(&mut head.as_slice().chain(said)).await;
            let Account { outcome, ticket, .. } = &mut *standing.account;
            if told.is_err() {
                ticket.broke("client_gone");
                return None;
            }
            ticket.answered(status);
            ticket.down += down;
            outcome.moved(0, down);
            Some(standing)
        }
    }
}

/// A tunnel on its way: all that an idle one holds.
pub(crate) struct Carried {
    relay: Relay,
    account: Box<Account>,
}

impl Standing {
    /// Begins to relay.
    pub(crate) fn start(self, client: TcpStream, registry: &Arc<TunnelRegistry>) -> Box<Carried> {
        let Self {
            early,
            upstream,
            account,
        } = self;
        let client = ChainStream::from(client).rewound(early);
        Box::new(Carried {
            relay: Relay::new(client, upstream).registered(registry),
            account,
        })
    }
}

impl Carried {
    /// Relays until both sides are done, and tells.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes both sides; the account tells itself as cut.
    pub(crate) async fn run(mut self: Box<Self>) {
        let Self { relay, account } = &mut *self;
        let report = poll_fn(|cx| {
            let polled = Pin::new(&mut *relay).poll(cx);
            let (up, down) = relay.moved();
            account.meter.keep_up(&mut *account.outcome, up, down);
            polled
        })
        .await;
        self.account.close(&report);
    }
}

impl Account {
    /// The relay is over.
    pub(crate) fn close(mut self: Box<Self>, report: &RelayReport) {
        // A proxy that says 200 and then hangs up has built nothing: its owner wants to know.
        let hung_up = matches!(report.ended_by, EndedBy::UpstreamClosed | EndedBy::UpstreamError);
        if hung_up && report.up > 0 && report.down == 0 && self.ticket.down == 0 {
            let text = "the tunnel was closed before a byte came back";
            let error = DialError::new(FailureKind::Reset, Blame::Target, Retry::Never, text);
            self.outcome.failed(&error.at(HopName::target()));
            self.ticket.broke("reset");
        }
        self.meter.settle(&mut *self.outcome, report.up, report.down);
        self.ticket.up += report.up;
        self.ticket.down += report.down;
        match report.ended_by {
            EndedBy::ClientClosed | EndedBy::UpstreamClosed | EndedBy::BothClosed => {}
            ended @ (EndedBy::Idle | EndedBy::Drained | EndedBy::ClientError | EndedBy::UpstreamError) => {
                self.ticket.broke(ended.as_str());
            }
        }
        self.ticket.finish();
    }
}
