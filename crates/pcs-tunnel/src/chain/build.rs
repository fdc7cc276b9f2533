//! The fold: from nothing to a stream through every hop.

use std::time::Duration;

use pcs_models::{
    AuthScheme, Blame, CredentialsError, FailureKind, Hop, HopName, Protocol, Retry, SessionId, Target,
};
use tokio::time::Instant;

use super::blame::{refused, title, unreachable};
use super::drive::{Buffers, DriveError, Patience, drive};
use super::prepared::Shown;
use super::{ChainConnector, Dial, DialRequest, Dialed, PreparedChain, WarmStream};
use crate::wire::{
    Handshake, HandshakeError, HttpConnect, HttpProbe, Scheme, Socks4Connect, Socks5Connect, Socks5Greeting,
};
use crate::{BoxFuture, ChainStream, DialError, Form, HopAddress, HopTiming, Io, Purpose};

/// How often hops may ask to be dialled again with credentials: each once, and once more for a forgotten scheme.
const MAX_REDIALS: usize = 4;

impl Dial for ChainConnector {
    fn dial<'a>(
        &'a self,
        chain: &'a PreparedChain,
        request: DialRequest<'a>,
    ) -> BoxFuture<'a, Result<Dialed, DialError>> {
        Box::pin(async move { self.build(chain, &request).await })
    }

    fn warm<'a>(
        &'a self,
        chain: &'a PreparedChain,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<WarmStream, DialError>> {
        Box::pin(async move {
            let Some(last) = chain.last_index() else {
                let message = "a direct way cannot be kept warm";
                return Err(DialError::new(
                    FailureKind::Local,
                    Blame::Local,
                    Retry::Never,
                    message,
                ));
            };
            // Credentials of a session are shown when a hop is asked for the next: stop in front of that.
            let goal = (0..last).find(|at| chain.is_per_session(*at)).unwrap_or(last);
            let mut redials = Redials::default();
            loop {
                let mut way = Way::new(self, chain, None, deadline);
                match way.warm_up(goal).await {
                    Ok(stream) => return Ok(way.keep_warm(stream, goal)),
                    Err(stop) => redials.again(chain, stop)?,
                }
            }
        })
    }

    fn finish<'a>(
        &'a self,
        warm: WarmStream,
        chain: &'a PreparedChain,
        request: DialRequest<'a>,
    ) -> BoxFuture<'a, Result<Dialed, DialError>> {
        Box::pin(async move {
            let mut way = Way::new(self, chain, request.session, request.deadline);
            (way.timings, way.greeted) = (warm.timings, warm.greeted);
            let last = chain.last_index().unwrap_or_default();
            let mut stop = match way.reach(warm.stream, warm.reached.unwrap_or(last)).await {
                Ok(mut stream) => match way.reach_target(&mut stream, &request).await {
                    Ok(form) => return Ok(way.arrived(stream, form)),
                    Err(stop) => stop,
                },
                Err(stop) => stop,
            };
            let mut redials = Redials::default();
            loop {
                redials.again(chain, stop)?;
                match self.once(chain, &request, redials.unasked).await {
                    Ok(dialed) => return Ok(dialed),
                    Err(again) => stop = again,
                }
            }
        })
    }
}

impl ChainConnector {
    /// As [`Dial::dial`], for whoever has a box of its own to put the future in.
    ///
    /// # Errors
    ///
    /// As [`Dial::dial`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes what was opened.
    pub async fn build(&self, chain: &PreparedChain, request: &DialRequest<'_>) -> Result<Dialed, DialError> {
        let mut redials = Redials::default();
        loop {
            match self.once(chain, request, redials.unasked).await {
                Ok(dialed) => return Ok(dialed),
                Err(stop) => redials.again(chain, stop)?,
            }
        }
    }

    async fn once(
        &self,
        chain: &PreparedChain,
        request: &DialRequest<'_>,
        unasked: Option<usize>,
    ) -> Result<Dialed, Stop> {
        let mut way = Way::new(self, chain, request.session, request.deadline);
        way.unasked = unasked;
        way.prove_session()?;
        let last = chain.spec().hops().last();
        let asks = request.purpose == Purpose::Tunnel || last.is_some_and(|last| !last.protocol.is_http());
        let stream = way.open(request.target, asks).await?;
        let mut stream = way.reach(stream, 0).await?;
        // Boxed, as the hops before it are: small blocks come from the allocator's quickest shelf, one that holds
        // every phase does not.
        let form = Box::pin(way.reach_target(&mut stream, request)).await?;
        Ok(way.arrived(stream, form))
    }
}

/// How often hops closed the connection to be asked again with credentials.
#[derive(Default)]
struct Redials {
    count: usize,
    /// A hop that asked for no credentials: it is not asked about them again.
    unasked: Option<usize>,
}

impl Redials {
    /// Says that the chain is to be dialled anew, or why not.
    fn again(&mut self, chain: &PreparedChain, stop: Stop) -> Result<(), DialError> {
        let (at, scheme) = match stop {
            Stop::Failed(error) => return Err(error),
            Stop::Again(at, scheme) => (at, scheme),
        };
        if scheme == Scheme::Unasked {
            self.unasked = Some(at);
        } else {
            chain.learn(at, scheme);
        }
        self.count = self.count.saturating_add(1);
        if self.count < MAX_REDIALS {
            return Ok(());
        }
        let blame = Blame::Hop(pcs_models::HopIndex(u8::try_from(at).unwrap_or(u8::MAX)));
        let message = "keeps asking for credentials on a new connection";
        let error = match chain.hop(at) {
            Some(hop) => DialError::new(
                FailureKind::Auth,
                blame,
                Retry::Other,
                format!("{} {message}", title(hop)),
            )
            .at(hop.name.clone()),
            None => DialError::new(FailureKind::Auth, blame, Retry::Other, message),
        };
        Err(error.with_status(407))
    }
}

/// Why one pass over the hops ended early.
enum Stop {
    Failed(DialError),
    /// The hop at this place wants to be asked on a new connection, shown this.
    Again(usize, Scheme),
}

impl From<DialError> for Stop {
    fn from(error: DialError) -> Self {
        Self::Failed(error)
    }
}

/// One pass over the hops.
struct Way<'a> {
    connector: &'a ChainConnector,
    chain: &'a PreparedChain,
    session: Option<&'a SessionId>,
    deadline: Instant,
    buffers: Buffers,
    timings: Vec<HopTiming>,
    /// When the last phase ended: each begins where the one before did, so the clock is read once for each.
    clock: Instant,
    /// The SOCKS5 hop that was reached has been greeted already.
    greeted: bool,
    /// The hop that is known to ask for no credentials.
    unasked: Option<usize>,
}

impl<'a> Way<'a> {
    fn new(
        connector: &'a ChainConnector,
        chain: &'a PreparedChain,
        session: Option<&'a SessionId>,
        deadline: Instant,
    ) -> Self {
        let timings = Vec::with_capacity(chain.spec().hops().len().saturating_add(1));
        Self {
            connector,
            chain,
            session,
            deadline,
            buffers: Buffers::default(),
            timings,
            clock: Instant::now(),
            greeted: false,
            unasked: None,
        }
    }

    /// A session that fits into no user name is found out before anything is dialled.
    fn prove_session(&mut self) -> Result<(), Stop> {
        if self.session.is_some() {
            let hops = 0..self.chain.spec().hops().len();
            for at in hops.filter(|at| self.chain.is_per_session(*at)) {
                self.shown(at)?;
            }
        }
        Ok(())
    }

    /// To the first hop; straight to `target` where there is none. `asks`: the last hop will be asked for something as
    /// soon as it is reached.
    async fn open(&mut self, target: &Target, asks: bool) -> Result<ChainStream, Stop> {
        let stream = self.tcp(target, asks).await?;
        match self.chain.hop(0) {
            Some(hop) => self.secure(0, hop, stream).await,
            None => Ok(stream),
        }
    }

    /// From the hop at `from`, which the stream ends at, until the last hop can be spoken to.
    async fn reach(&mut self, stream: ChainStream, from: usize) -> Result<ChainStream, Stop> {
        let last = self.chain.last_index().unwrap_or_default();
        if from >= last {
            return Ok(stream);
        }
        Box::pin(self.advance(stream, from, last)).await
    }

    async fn advance(
        &mut self,
        mut stream: ChainStream,
        from: usize,
        goal: usize,
    ) -> Result<ChainStream, Stop> {
        let hops = self.chain.spec().hops();
        let pairs = hops.iter().zip(hops.iter().skip(1)).enumerate();
        for (at, (hop, next)) in pairs.take(goal).skip(from) {
            let behind = at.saturating_add(1);
            let Some(place) = self.chain.place(behind) else {
                break;
            };
            self.begin(next.name.clone(), place.clone());
            self.ask(at, hop, &mut stream, place).await?;
            stream = self.secure(behind, next, stream).await?;
        }
        Ok(stream)
    }

    /// As far as `goal`, and what can be said to it without a target.
    async fn warm_up(&mut self, goal: usize) -> Result<ChainStream, Stop> {
        let Some(hop) = self.chain.hop(goal) else {
            return Err(no_hop().into());
        };
        let asks = hop.protocol == Protocol::Socks5;
        let stream = self.open(&hop.endpoint.as_target(), asks || goal > 0).await?;
        let mut stream = self.advance(stream, 0, goal).await?;
        if hop.protocol == Protocol::Socks5 && !self.chain.is_per_session(goal) {
            let shown = self.shown(goal)?;
            let credentials = shown.as_ref().map(|shown| &*shown.credentials);
            let result = self
                .talk(&mut stream, &mut Socks5Greeting::new(credentials))
                .await;
            let place = hop.endpoint.as_target();
            result.map_err(|error| self.stopped(goal, &place, false, error))?;
            self.greeted = true;
        }
        Ok(stream)
    }

    fn keep_warm(self, stream: ChainStream, reached: usize) -> WarmStream {
        WarmStream {
            stream,
            timings: self.timings,
            reached: Some(reached),
            greeted: self.greeted,
        }
    }

    /// From the last hop to the target, or to where plain requests can be written.
    async fn reach_target(
        &mut self,
        stream: &mut ChainStream,
        request: &DialRequest<'_>,
    ) -> Result<Form, Stop> {
        let hops = self.chain.spec().hops();
        let mut form = Form::Origin;
        if let Some((last, at)) = hops.last().zip(hops.len().checked_sub(1)) {
            if request.purpose == Purpose::Forward && last.protocol.is_http() {
                form = match self.usual_form(at)? {
                    Some(form) => form,
                    None => Box::pin(self.authorize(at, last, stream, request.target)).await?,
                };
            } else {
                self.begin(HopName::target(), request.target.clone());
                self.ask(at, last, stream, request.target).await?;
            }
        }
        Ok(form)
    }

    fn arrived(self, stream: ChainStream, form: Form) -> Dialed {
        Dialed {
            stream,
            form,
            timings: self.timings,
        }
    }

    async fn tcp(&mut self, target: &Target, asks: bool) -> Result<ChainStream, Stop> {
        let deadline = self.within(self.connector.timeouts.connect);
        let network = &self.connector.network;
        let dialed = match self.chain.hop(0).zip(self.chain.place(0)) {
            Some((hop, place)) => {
                self.begin(hop.name.clone(), place.clone());
                let is_only = self.chain.last_index() == Some(0);
                if asks || !is_only || hop.protocol == Protocol::Https {
                    network.connect_hop(&hop.endpoint, deadline).await
                } else {
                    // Nothing may be said on it for a while, and a hop that hangs up should be heard at once.
                    Box::pin(network.connect_tcp(&hop.endpoint, deadline)).await
                }
            }
            None => {
                self.begin(HopName::target(), target.clone());
                Box::pin(network.connect_tcp(&target.as_endpoint(), deadline)).await
            }
        };
        match dialed {
            Ok(dialed) => {
                self.clock = dialed.at;
                if let Some(timing) = self.timings.last_mut() {
                    timing.address = HopAddress::Socket(dialed.address);
                    (timing.dns, timing.tcp) = (dialed.dns, dialed.tcp);
                }
                Ok(dialed.stream.into())
            }
            Err(error) => {
                let took = self.lap();
                if let Some(timing) = self.timings.last_mut() {
                    timing.tcp = took;
                }
                Err(self.failed(unreachable(self.chain.spec(), 0, error)))
            }
        }
    }

    /// TLS with a hop that wants it.
    async fn secure(&mut self, at: usize, hop: &Hop, stream: ChainStream) -> Result<ChainStream, Stop> {
        if hop.protocol != Protocol::Https {
            return Ok(stream);
        }
        let deadline = self.within(self.connector.timeouts.connect);
        let network = &self.connector.network;
        // Boxed: its state is several times that of all the rest, and most hops need none.
        let secured = Box::pin(network.tls(stream, &hop.endpoint.host, &hop.tls, deadline)).await;
        let took = self.lap();
        if let Some(timing) = self.timings.last_mut() {
            timing.tls = took;
        }
        match secured {
            Ok(secured) => Ok(ChainStream::new(Io::Tls(Box::new(secured)))),
            Err(error) => Err(self.failed(unreachable(self.chain.spec(), at, error))),
        }
    }

    /// Asks the hop at `at` for `next`.
    async fn ask(
        &mut self,
        at: usize,
        hop: &Hop,
        stream: &mut ChainStream,
        next: &Target,
    ) -> Result<(), Stop> {
        let shown = self.shown(at)?;
        let (result, named) = match hop.protocol {
            Protocol::Http | Protocol::Https => {
                let login = self.chain.login(at, shown.as_ref());
                let mut talk = HttpConnect::new(next, login);
                let result = self.talk(stream, &mut talk).await;
                let named = talk.has_named_target();
                self.remember(at, hop, &result, talk.scheme());
                (result, named)
            }
            Protocol::Socks4 => {
                let user = shown.as_ref().map_or("", |shown| shown.credentials.username());
                (self.talk(stream, &mut Socks4Connect::new(next, user)).await, true)
            }
            Protocol::Socks5 => {
                let credentials = shown.as_ref().map(|shown| &*shown.credentials);
                let greeted = if std::mem::take(&mut self.greeted) {
                    Ok(())
                } else {
                    self.talk(stream, &mut Socks5Greeting::new(credentials)).await
                };
                match greeted {
                    Ok(()) => (self.talk(stream, &mut Socks5Connect::new(next)).await, true),
                    Err(error) => (Err(error), false),
                }
            }
        };
        self.told();
        result.map_err(|error| self.stopped(at, next, named, error))
    }

    /// How plain requests are authorised at the last hop, where nothing has to be asked for that.
    fn usual_form(&mut self, at: usize) -> Result<Option<Form>, Stop> {
        let Some(shown) = self.shown(at)? else {
            return Ok(Some(Form::Absolute { authorization: None }));
        };
        let login = self.chain.login(at, Some(&shown));
        let known = login.first == Scheme::Basic || self.unasked == Some(at);
        Ok(known.then(|| Form::Absolute {
            authorization: login.basic.filter(|_| login.first == Scheme::Basic).cloned(),
        }))
    }

    /// Finds out how plain requests for `target` are authorised at the last hop.
    async fn authorize(
        &mut self,
        at: usize,
        hop: &Hop,
        stream: &mut ChainStream,
        target: &Target,
    ) -> Result<Form, Stop> {
        let shown = self.shown(at)?;
        // A hop whose scheme is not known is asked by a HEAD that shows nothing: NTLM is for those that ask for it.
        let login = self.chain.login(at, shown.as_ref());
        // A hop that was told to expect NTLM answers by itself; another may turn to the target.
        let named = hop.auth == AuthScheme::Auto;
        self.begin(HopName::target(), target.clone());
        let mut talk = HttpProbe::new(target, login);
        let result = self.talk(stream, &mut talk).await;
        self.remember(at, hop, &result, talk.scheme());
        self.told();
        match result {
            // A body behind an answer to HEAD would be taken for the answer to the first real request.
            Ok(()) if !stream.early().is_empty() => {
                let error = DriveError::Handshake(HandshakeError::Malformed("HEAD with a body"));
                Err(self.stopped(at, target, false, error))
            }
            Ok(()) => Ok(Form::Absolute {
                authorization: talk.authorization(),
            }),
            Err(error) => Err(self.stopped(at, target, named, error)),
        }
    }

    async fn talk(&mut self, stream: &mut ChainStream, talk: &mut dyn Handshake) -> Result<(), DriveError> {
        let patience = Patience {
            asked: self.clock,
            answer: self.connector.timeouts.read,
            deadline: self.deadline,
        };
        let result = drive(stream, talk, &mut self.buffers, patience).await;
        if let (Some(said), Some(timing)) = (talk.take_said(), self.timings.last_mut()) {
            timing.said = Some(said);
        }
        result
    }

    fn shown(&mut self, at: usize) -> Result<Option<Shown<'a>>, Stop> {
        self.chain
            .credentials(at, self.session)
            .map_err(|error| self.failed(bad_session(error)))
    }

    /// Remembers what satisfied a hop whose scheme is found out, and forgets what did not.
    fn remember(&self, at: usize, hop: &Hop, result: &Result<(), DriveError>, scheme: Scheme) {
        if hop.auth != AuthScheme::Auto || hop.credentials.is_none() {
            return;
        }
        match result {
            // Some hops ask for some targets only: that one was not asked says nothing about the next.
            Ok(()) if scheme == Scheme::Unasked => {}
            Ok(()) => self.chain.learn(at, scheme),
            Err(DriveError::Handshake(HandshakeError::Auth { .. })) => self.chain.learn(at, Scheme::Unasked),
            Err(_) => {}
        }
    }

    fn stopped(&mut self, at: usize, next: &Target, named: bool, error: DriveError) -> Stop {
        match error {
            DriveError::Handshake(HandshakeError::Redial(scheme)) => Stop::Again(at, scheme),
            error => self.failed(refused(self.chain.spec(), at, next, named, error)),
        }
    }

    fn begin(&mut self, hop: HopName, place: Target) {
        let none = Duration::ZERO;
        self.timings.push(HopTiming {
            hop,
            address: HopAddress::Place(place),
            dns: none,
            tcp: none,
            tls: none,
            handshake: none,
            said: None,
        });
    }

    /// The time since the last phase ended.
    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now.saturating_duration_since(std::mem::replace(&mut self.clock, now))
    }

    fn told(&mut self) {
        let took = self.lap();
        if let Some(timing) = self.timings.last_mut() {
            timing.handshake = took;
        }
    }

    fn failed(&mut self, error: DialError) -> Stop {
        Stop::Failed(error.with_timings(std::mem::take(&mut self.timings)))
    }

    fn within(&self, phase: Duration) -> Instant {
        self.deadline.min(self.clock + phase)
    }
}

fn bad_session(error: CredentialsError) -> DialError {
    DialError::new(
        FailureKind::BadSession,
        Blame::Client,
        Retry::Never,
        format!("the session does not fit into the proxy's user name: {error}"),
    )
}

/// What cannot be: places are counted from the chain's own hops.
fn no_hop() -> DialError {
    DialError::new(
        FailureKind::Local,
        Blame::Local,
        Retry::Never,
        "a hop was asked that is not there",
    )
}
