//! From typed values to the proven [`Config`]: texts become types, and what must fit together is held together.

mod hop;
mod listeners;
mod member;
mod pools;
mod routes;
mod sections;
mod view;

use std::sync::Arc;

use crate::config::Config;
use crate::error::{ErrorKind, Findings, Place};
use crate::fill::{Filled, Value};

pub(crate) use view::View;

/// An error was recorded; there is nothing to go on with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bad;

pub(crate) type Read<T> = Result<T, Bad>;

/// Which words of the chain the sources name, present or not after `--no-corporate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Named {
    pub(crate) corporate: bool,
    pub(crate) rotation: bool,
    pub(crate) pools: bool,
}

/// Collects what is wrong while values are proven.
#[derive(Debug)]
pub(crate) struct Builder<'a> {
    pub(crate) findings: &'a mut Findings,
}

impl Builder<'_> {
    pub(crate) fn refuse(
        &mut self,
        place: &Place,
        key: &str,
        kind: ErrorKind,
        message: impl Into<String>,
    ) -> Bad {
        self.findings.error(place, key, kind, message);
        Bad
    }

    /// Builds everything, so that every mistake is found; gives a configuration only if there is none.
    pub(crate) fn build(&mut self, root: &Filled, named: Named, effective: Arc<str>) -> Read<Config> {
        let Value::Section(section, values) = &root.value else {
            return Err(Bad);
        };
        let view = View::new(section, values, "", &root.place);
        let server = self.server(&view);
        let corporate = self.corporate(&view);
        let health_check = view
            .section("health_check")
            .and_then(|own| self.health(&own, None));
        let tunnel = sections::tunnel(&view);
        let circuit_breaker = sections::circuit_breaker(&view);
        let retry = self.retry(&view);
        let logging = self.logging(&view);
        let metrics = self.metrics(&view);
        let admin = self.admin(&view);
        if let (Ok(server), Ok(metrics), Ok(admin)) = (&server, &metrics, &admin) {
            self.listeners(&view, server, metrics, admin);
        }
        let has_state = admin.as_ref().is_ok_and(|admin| admin.state_file.is_some());
        let chain_is_named = named.corporate || named.rotation || named.pools || has_state;
        let corporate_is_all =
            !named.rotation && !named.pools && !has_state && matches!(&corporate, Ok(Some(_)) | Err(Bad));
        let base = match &health_check {
            Ok(health) => health.clone(),
            Err(Bad) => self.default_health()?,
        };
        let pools = self.pools(&view, named, &base, chain_is_named && !corporate_is_all);
        let known = pools
            .as_ref()
            .ok()
            .map(|pools| pools.iter().map(|pool| pool.name.as_str()).collect());
        let routes = self.routes(&view, named, corporate.as_ref().is_ok_and(Option::is_some), known);
        if let (Ok(pools), Ok(corporate)) = (&pools, &corporate) {
            self.ping_needs_first_hop(&view, pools, corporate.is_some());
        }
        if let (Ok(pools), Ok(routes)) = (&pools, &routes) {
            self.warn_of_dead_ends(pools, routes, has_state);
        }
        Ok(Config {
            server: server?,
            corporate: corporate?,
            pools: pools?,
            routes: routes?,
            tunnel: tunnel?,
            health_check: health_check?,
            circuit_breaker: circuit_breaker?,
            retry: retry?,
            logging: logging?,
            metrics: metrics?,
            admin: admin?,
            plain_mode: !chain_is_named,
            effective,
        })
    }
}
