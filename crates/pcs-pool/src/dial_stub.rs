#![allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    reason = "goes as soon as pcs-tunnel has its own"
)]
use pcs_models::{ChainSpec, SessionId, Target};
use pcs_tunnel::{BoxFuture, ChainStream, DialError, Form, HopTiming, Purpose};
use tokio::time::Instant;

pub struct PreparedChain(pub ChainSpec);
impl PreparedChain {
    pub fn new(spec: ChainSpec) -> Self {
        Self(spec)
    }
    pub fn spec(&self) -> &ChainSpec {
        &self.0
    }
}
#[derive(Clone, Copy)]
pub struct DialRequest<'a> {
    pub target: &'a Target,
    pub purpose: Purpose,
    pub session: Option<&'a SessionId>,
    pub deadline: Instant,
}
pub struct Dialed {
    pub stream: ChainStream,
    pub form: Form,
    pub timings: Vec<HopTiming>,
}
#[derive(Debug)]
pub struct WarmStream(pub ChainStream);
impl WarmStream {
    pub fn is_quiet(&mut self) -> bool {
        crate::idle::is_quiet(&mut self.0)
    }
}
pub trait Dial: Send + Sync {
    fn warm<'a>(
        &'a self,
        chain: &'a PreparedChain,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<WarmStream, DialError>>;
    fn finish<'a>(
        &'a self,
        warm: WarmStream,
        chain: &'a PreparedChain,
        request: DialRequest<'a>,
    ) -> BoxFuture<'a, Result<Dialed, DialError>>;
    fn dial<'a>(
        &'a self,
        chain: &'a PreparedChain,
        request: DialRequest<'a>,
    ) -> BoxFuture<'a, Result<Dialed, DialError>>;
}
