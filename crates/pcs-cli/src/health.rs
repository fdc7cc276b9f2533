//! Active health checks: who is checked and how, kept in step with the pools.

use std::sync::Arc;

use pcs_config::{Config, HealthCheckConfig, HealthMethod};
use pcs_health::checker::{CheckSpec, Checker, Driver, Method, PoolSubjects, Subject, TestUrl};
use pcs_health::flip::Thresholds;
use pcs_health::{ChainProbe, Way};
use pcs_models::{ChainSpec, PoolName};
use pcs_pool::{Member, Pools};
use pcs_tunnel::PreparedChain;

/// The handle to the checks of this process.
pub(crate) type Checks = Checker<Way>;

/// Checks over the production connector, and what has to run for them.
pub(crate) fn checks(probe: &Arc<ChainProbe>, pools: &Pools) -> (Checks, Driver<ChainProbe>) {
    // Jitter needs no good randomness, only another one in each process.
    let seed = u64::from(std::process::id());
    Checker::new(Arc::clone(probe), Arc::new(pools.clone()), seed)
}

/// Tells the checks who is there now.
pub(crate) fn follow(checks: &Checks, pools: &Pools, config: &Config) {
    let members = pools.members();
    let mut subjects: Vec<PoolSubjects<Way>> = Vec::new();
    for member in &members {
        let Some(subject) = subject(member, pools) else {
            continue;
        };
        match subjects.last_mut().filter(|last| last.pool == *member.pool()) {
            Some(last) => last.subjects.push(subject),
            None => subjects.push(PoolSubjects {
                pool: member.pool().clone(),
                spec: Arc::new(spec(health_of(config, member.pool()))),
                subjects: vec![subject],
            }),
        }
    }
    checks.update(subjects);
}

/// A pool that only the admin API knows is checked as the configuration says for all.
fn health_of<'c>(config: &'c Config, pool: &PoolName) -> &'c HealthCheckConfig {
    config
        .pool(pool.as_str())
        .map_or(&config.health_check, |pool| &pool.health)
}

fn subject(member: &Member, pools: &Pools) -> Option<Subject<Way>> {
    // A member removed between the two calls is no longer there to be checked.
    let chain = pools.chain(member.id())?;
    let (last, before) = chain.hops().split_last()?;
    let behind_corporate = !before.is_empty();
    let way = Way {
        member: last.endpoint.clone(),
        before: ChainSpec::try_new(before.to_vec())
            .ok()
            .map(|spec| Arc::new(PreparedChain::new(spec))),
        chain: Arc::new(PreparedChain::new(chain)),
    };
    Some(Subject {
        id: member.id().clone(),
        serial: member.serial(),
        enabled: member.enabled(),
        behind_corporate,
        way,
    })
}

fn spec(config: &HealthCheckConfig) -> CheckSpec {
    CheckSpec {
        enabled: config.enabled,
        method: match config.method {
            HealthMethod::Http => Method::Http,
            HealthMethod::Connect => Method::Connect,
            HealthMethod::Tcp => Method::Tcp,
            HealthMethod::Ping => Method::Ping,
        },
        interval: config.interval,
        timeout: config.timeout,
        test_url: TestUrl {
            tls: config.test_url.tls,
            target: config.test_url.target.clone(),
            path: config.test_url.path.as_str().into(),
        },
        expect_status: config.expect_status.clone(),
        expect_body: config.expect_body.clone(),
        thresholds: Thresholds {
            failures: config.failure_threshold,
            successes: config.success_threshold,
        },
        concurrency: config.concurrency,
    }
}
