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
pub trait Dial: Send + Sync {
    fn dial<'a>(
        &'a self,
        chain: &'a PreparedChain,
        request: DialRequest<'a>,
    ) -> BoxFuture<'a, Result<Dialed, DialError>>;
}
