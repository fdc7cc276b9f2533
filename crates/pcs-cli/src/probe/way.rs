//! Which ways are probed: those that were asked for, else the one that the server would take.

use pcs_config::{Config, MemberConfig, PoolConfig};
use pcs_models::{AuthScheme, ChainSpec, Hop, PoolName, Target};
use pcs_pool::{RouteAction, RouteSpec};
use pcs_tunnel::PreparedChain;

use crate::args::ProbeArgs;
use crate::usage::{Usage, masked};
use crate::wiring;

/// One way to probe, and what it is called.
pub(super) struct Way {
    /// The rotating proxy's id; `None` where the chain has none.
    pub(super) proxy: Option<String>,
    pub(super) chain: PreparedChain,
}

/// What is to be probed.
pub(super) struct Plan {
    /// The route that the target meets, where one decided: `routes[0] (pool us)`.
    pub(super) route: Option<String>,
    pub(super) ways: Ways,
}

pub(super) enum Ways {
    /// These, one after the other; none where no proxy is left.
    Through(Vec<Way>),
    /// The server would answer 403.
    Rejected,
}

/// # Errors
///
/// A proxy was asked for that is not there, or the hops make no chain.
pub(super) fn plan(args: &ProbeArgs, config: &Config, target: &Target) -> anyhow::Result<Plan> {
    let ways = if let Some(id) = &args.proxy {
        vec![through(config, asked_for(config, id)?)?]
    } else if args.all {
        let enabled = members(config).filter(|member| member.enabled);
        enabled
            .map(|member| through(config, member))
            .collect::<anyhow::Result<_>>()?
    } else {
        return steered(config, target);
    };
    Ok(Plan {
        route: None,
        ways: Ways::Through(ways),
    })
}

/// As the server steers a request that names no pool: by the first route that the target meets, else through
/// `default`.
fn steered(config: &Config, target: &Target) -> anyhow::Result<Plan> {
    let routes = config.routes.iter().map(wiring::route).enumerate();
    let met = |route: &RouteSpec| route.hosts.iter().any(|host| host.matches(&target.host));
    let Some((index, route)) = routes.into_iter().find(|(_, route)| met(route)) else {
        let ways = Ways::Through(unrouted(config)?.into_iter().collect());
        return Ok(Plan { route: None, ways });
    };
    let (leads, way) = match &route.action {
        RouteAction::Reject => {
            return Ok(Plan {
                route: Some(format!("routes[{index}] (via reject)")),
                ways: Ways::Rejected,
            });
        }
        RouteAction::Direct => ("via direct".to_owned(), Some(hopless(ChainSpec::direct()))),
        RouteAction::Corporate => ("via corporate".to_owned(), corporate_alone(config)?),
        RouteAction::Pool(name) => (format!("pool {name}"), from_pool(config, name)?),
    };
    Ok(Plan {
        route: Some(format!("routes[{index}] ({leads})")),
        ways: Ways::Through(way.into_iter().collect()),
    })
}

fn unrouted(config: &Config) -> anyhow::Result<Option<Way>> {
    // Fail closed: pools without a usable member are no reason to go without one.
    if !config.pools.is_empty() {
        return from_pool(config, &PoolName::default());
    }
    match corporate_alone(config)? {
        Some(way) => Ok(Some(way)),
        None => Ok(config.plain_mode.then(|| hopless(ChainSpec::direct()))),
    }
}

/// Through the first member of the pool that is enabled, else of those that it falls back on.
fn from_pool(config: &Config, name: &PoolName) -> anyhow::Result<Option<Way>> {
    let find = |name: &PoolName| config.pools.iter().find(|pool| pool.name == *name);
    let fallback = |pool: &&PoolConfig| pool.fallback.as_ref().and_then(find);
    // Fallbacks in a circle are no configuration.
    let line = std::iter::successors(find(name), fallback);
    let member = line.flat_map(|pool| &pool.members).find(|member| member.enabled);
    member.map(|member| through(config, member)).transpose()
}

fn corporate_alone(config: &Config) -> anyhow::Result<Option<Way>> {
    let spec = config
        .corporate
        .as_ref()
        .map(|hop| ChainSpec::try_new(vec![hop.clone()]));
    Ok(spec.transpose()?.map(hopless))
}

fn hopless(spec: ChainSpec) -> Way {
    Way {
        proxy: None,
        chain: PreparedChain::new(spec),
    }
}

fn through(config: &Config, member: &MemberConfig) -> anyhow::Result<Way> {
    let hop = Hop {
        auth: AuthScheme::Basic,
        ..member.hop.clone()
    };
    let hops = config.corporate.clone().into_iter().chain([hop]).collect();
    Ok(Way {
        proxy: Some(member.id.to_string()),
        chain: PreparedChain::new(ChainSpec::try_new(hops)?),
    })
}

fn members(config: &Config) -> impl Iterator<Item = &MemberConfig> {
    config.pools.iter().flat_map(|pool| &pool.members)
}

fn asked_for<'c>(config: &'c Config, id: &str) -> anyhow::Result<&'c MemberConfig> {
    let found = members(config).find(|member| member.id.as_str() == id);
    found.ok_or_else(|| {
        let known: Vec<_> = members(config).map(|member| member.id.as_str()).collect();
        Usage::error(format!(
            "there is no proxy {:?} (known: {})",
            masked(id),
            if known.is_empty() {
                "none".into()
            } else {
                known.join(", ")
            }
        ))
    })
}
