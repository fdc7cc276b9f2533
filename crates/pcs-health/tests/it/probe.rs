//! Single checks over real sockets, through proxies that go wrong.

use std::sync::Arc;
use std::time::Duration;

use pcs_health::checker::{CheckFailure, CheckSpec, Fault, Method, Probe, TestUrl};
use pcs_health::{ChainProbe, Way};
use pcs_models::{ChainSpec, FailureKind, Hop, TlsOptions};
use pcs_testkit::{Behaviour, Listening, Origin, OriginKind, Proxy, TestCa, refusing_address};
use pcs_tunnel::{ChainConnector, DialTimeouts, Network, PreparedChain};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use crate::world;

/// A corporate proxy and a member behind it, and a test URL.
struct Street {
    corporate: Proxy,
    member: Proxy,
    origin: Origin,
}

impl Street {
    async fn new() -> Self {
        Self {
            corporate: Proxy::http().basic("staff", "secret-1").start().await,
            member: Proxy::http().basic("customer", "secret-2").start().await,
            origin: Origin::start(OriginKind::Http).await,
        }
    }

    fn spec(&self, method: Method, path: &str) -> CheckSpec {
        let target = self
            .origin
            .address()
            .to_string()
            .parse()
            .expect("an address is a target");
        CheckSpec {
            method,
            test_url: TestUrl {
                tls: false,
                target,
                path: path.into(),
            },
            ..world::spec()
        }
    }

    fn direct(&self) -> Way {
        let member = self.member.hop("member");
        Way {
            member: member.endpoint.clone(),
            before: None,
            chain: chain(vec![member]),
        }
    }

    fn behind(&self) -> Way {
        let (corporate, member) = (self.corporate.hop("corp"), self.member.hop("member"));
        Way {
            member: member.endpoint.clone(),
            before: Some(chain(vec![corporate.clone()])),
            chain: chain(vec![corporate, member]),
        }
    }
}

fn chain(hops: Vec<Hop>) -> Arc<PreparedChain> {
    Arc::new(PreparedChain::new(
        ChainSpec::try_new(hops).expect("one hop or two"),
    ))
}

fn probe() -> ChainProbe {
    let network = Arc::new(Network::default());
    ChainProbe::new(
        Arc::new(ChainConnector::new(Arc::clone(&network), DialTimeouts::default())),
        network,
    )
}

async fn check(way: &Way, spec: &CheckSpec) -> Result<Duration, CheckFailure> {
    probe()
        .check(way, spec, Instant::now() + Duration::from_secs(10))
        .await
}

async fn works(way: &Way) -> bool {
    probe()
        .corporate_works(way, Instant::now() + Duration::from_secs(10))
        .await
}

/// The kind and the fault of a failed check.
async fn blamed(way: &Way, spec: &CheckSpec) -> (FailureKind, Fault) {
    let failure = check(way, spec).await.expect_err("fails");
    assert!(!failure.message.contains("secret"), "{failure}");
    (failure.kind, failure.fault)
}

#[tokio::test]
async fn every_method_finds_a_good_member_well() {
    let street = Street::new().await;
    for way in [street.direct(), street.behind()] {
        for method in [Method::Http, Method::Connect, Method::Tcp] {
            let latency = check(&way, &street.spec(method, "/ip")).await;
            assert!(
                latency.as_ref().is_ok_and(|latency| !latency.is_zero()),
                "{method}: {latency:?}"
            );
        }
    }
    let fetched: Vec<String> = street
        .origin
        .heads()
        .iter()
        .map(|head| format!("{head:?}"))
        .collect();
    assert_eq!(fetched.len(), 2, "only http fetches");
    assert!(fetched.iter().all(|head| head.contains("/ip")));
}

#[tokio::test]
async fn tcp_reaches_the_member_and_nothing_behind_it() {
    let street = Street::new().await;
    check(&street.direct(), &street.spec(Method::Tcp, "/"))
        .await
        .unwrap();
    check(&street.behind(), &street.spec(Method::Tcp, "/"))
        .await
        .unwrap();
    assert_eq!(street.corporate.targets(), [street.member.address().to_string()]);
    assert_eq!(street.origin.accepted(), 0);
    assert!(street.member.targets().is_empty());
}

#[tokio::test]
async fn a_dead_member_is_to_blame_by_every_method() {
    let street = Street::new().await;
    street.member.behave(Behaviour::Refuse);
    for method in [Method::Http, Method::Connect, Method::Tcp] {
        let spec = street.spec(method, "/");
        assert_eq!(blamed(&street.direct(), &spec).await.1, Fault::Member, "{method}");
        assert_eq!(
            blamed(&street.behind(), &spec).await.1,
            Fault::Member,
            "{method} behind the corporate proxy"
        );
    }
    assert_eq!(street.origin.accepted(), 0);
    assert!(works(&street.behind()).await, "it told us so");
}

#[tokio::test]
async fn a_corporate_proxy_that_is_down_or_refuses_us_is_to_blame() {
    let street = Street::new().await;
    let mut stranger = street.behind();
    let nameless = Hop::new(pcs_models::Protocol::Http, street.corporate.hop("corp").endpoint);
    stranger.before = Some(chain(vec![nameless.clone()]));
    stranger.chain = chain(vec![nameless, street.member.hop("member")]);
    for method in [Method::Http, Method::Connect, Method::Tcp] {
        let spec = street.spec(method, "/");
        assert_eq!(
            blamed(&stranger, &spec).await,
            (FailureKind::Auth, Fault::Corporate),
            "{method}"
        );
    }
    assert!(!works(&stranger).await);
    street.corporate.behave(Behaviour::Refuse);
    for method in [Method::Http, Method::Connect, Method::Tcp] {
        let spec = street.spec(method, "/");
        assert_eq!(
            blamed(&street.behind(), &spec).await.1,
            Fault::Corporate,
            "{method}"
        );
    }
    assert!(!works(&street.behind()).await);
    assert!(works(&street.direct()).await, "there is none before this one");
}

/// Asks whether it works, in so many milliseconds: silence is what this is about.
async fn works_within(way: &Way, millis: u64) -> bool {
    let deadline = Instant::now() + Duration::from_millis(millis);
    probe().corporate_works(way, deadline).await
}

#[tokio::test]
async fn a_corporate_proxy_that_says_nothing_at_all_is_to_blame() {
    let street = Street::new().await;
    for behaviour in [Behaviour::HangAtAccept, Behaviour::HangAtRequest] {
        street.corporate.behave(behaviour.clone());
        assert!(!works_within(&street.behind(), 600).await, "{behaviour:?}");
    }
}

#[tokio::test]
async fn a_corporate_proxy_that_waits_for_the_member_works() {
    let street = Street::new().await;
    let mute = street.member.address().to_string();
    // It dials a member that is silent, and refuses all else, itself above all.
    let corporate = Listening::start([127, 0, 0, 1].into(), move |mut stream, _| {
        let mute = mute.clone();
        async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { return };
                head.push(byte);
            }
            if String::from_utf8_lossy(&head).contains(&mute) {
                std::future::pending::<()>().await;
            }
            let _ = stream
                .write_all(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
                .await;
        }
    })
    .await;
    let endpoint = corporate.address().to_string().parse().expect("an address");
    let hop = Hop::new(pcs_models::Protocol::Http, endpoint);
    let mut way = street.behind();
    way.before = Some(chain(vec![hop.clone()]));
    way.chain = chain(vec![hop, street.member.hop("member")]);
    // The first question waits for half of it in vain, and the second has the rest.
    assert!(works_within(&way, 10_000).await);
    assert_eq!(corporate.accepted(), 2, "asked for the member, then for itself");
}

#[tokio::test]
async fn a_corporate_proxy_that_forbids_a_member_fails_its_check_but_works() {
    let street = Street::new().await;
    for status in [403, 502, 503] {
        street.corporate.behave(Behaviour::Status(status));
        for method in [Method::Http, Method::Tcp] {
            let blame = blamed(&street.behind(), &street.spec(method, "/")).await;
            assert_eq!(blame, (FailureKind::Status, Fault::Member), "{method} {status}");
        }
        assert!(works(&street.behind()).await, "{status}");
    }
}

#[tokio::test]
async fn beyond_the_member_it_may_be_the_test_url() {
    let street = Street::new().await;
    let way = street.behind();
    let cases = [
        ("/status/500", FailureKind::Status),
        ("/cut", FailureKind::Reset),
        ("/reset", FailureKind::Reset),
    ];
    for (path, kind) in cases {
        let mut spec = street.spec(Method::Http, path);
        spec.expect_body = Some("x".repeat(100));
        let failure = check(&way, &spec).await.expect_err("fails");
        assert_eq!(
            (failure.kind, failure.fault),
            (kind, Fault::Target),
            "{path}: {failure}"
        );
    }
    let mut spec = street.spec(Method::Http, "/chunked");
    spec.expect_body = Some("no such text".into());
    assert_eq!(blamed(&way, &spec).await, (FailureKind::Protocol, Fault::Target));
    street.origin.refuse();
    assert_eq!(
        blamed(&way, &street.spec(Method::Connect, "/")).await.1,
        Fault::Target
    );
    assert!(check(&way, &street.spec(Method::Tcp, "/")).await.is_ok());
}

#[tokio::test]
async fn a_member_that_hangs_fails_by_the_deadline() {
    let street = Street::new().await;
    street.member.behave(Behaviour::HangAtAccept);
    let spec = street.spec(Method::Http, "/");
    let deadline = Instant::now() + Duration::from_millis(300);
    let failure = probe()
        .check(&street.direct(), &spec, deadline)
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Timeout);
    assert!(matches!(failure.fault, Fault::Member | Fault::Target));
}

#[tokio::test]
async fn the_test_url_proves_its_certificate() {
    let ca = TestCa::new();
    let leaf = ca.issue(&["127.0.0.1"]);
    let street = Street {
        origin: Origin::start_tls(OriginKind::Http, &leaf).await,
        ..Street::new().await
    };
    let mut spec = street.spec(Method::Http, "/ip");
    spec.test_url.tls = true;
    assert_eq!(
        blamed(&street.direct(), &spec).await,
        (FailureKind::Tls, Fault::Target)
    );
    let trusting = probe().with_tls(TlsOptions {
        ca_file: Some(ca.file()),
        ..TlsOptions::default()
    });
    let latency = trusting
        .check(&street.direct(), &spec, Instant::now() + Duration::from_secs(10))
        .await;
    assert!(latency.is_ok(), "{latency:?}");
}

#[tokio::test]
async fn a_ping_reaches_loopback_or_says_that_the_system_forbids_it() {
    let street = Street::new().await;
    let (address, _held) = refusing_address();
    let way = Way {
        member: address.into(),
        ..street.direct()
    };
    match check(&way, &street.spec(Method::Ping, "/")).await {
        Ok(latency) => assert!(!latency.is_zero()),
        Err(failure) => assert_eq!(failure.fault, Fault::Ours, "{failure}"),
    }
}
