//! Chains over real sockets: every kind of hop, the ways they fail, credentials, plain requests, warm chains.

use std::sync::Arc;
use std::time::Duration;

use pcs_models::{
    AuthScheme, Blame, ChainSpec, Credentials, FailureKind, Hop, HopIndex, Protocol, Retry, Secret,
    SessionId, Target,
};
use pcs_testkit::{Behaviour, Leaf, Origin, OriginKind, Proxy, TestCa, refusing_address, until};
use pcs_tunnel::{
    Chain, ChainConnector, ChainStream, Connect, ConnectRequest, Dial, DialError, DialRequest, DialTimeouts,
    Dialed, FixedChain, Form, HopTiming, Network, NetworkSettings, OwnListeners, PreparedChain, Purpose, Via,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

fn connector() -> ChainConnector {
    let timeouts = DialTimeouts {
        connect: Duration::from_secs(5),
        read: Duration::from_secs(5),
    };
    ChainConnector::new(Arc::new(Network::new(NetworkSettings::default())), timeouts)
}

fn impatient() -> ChainConnector {
    let timeouts = DialTimeouts {
        connect: Duration::from_millis(200),
        read: Duration::from_millis(200),
    };
    ChainConnector::new(Arc::new(Network::new(NetworkSettings::default())), timeouts)
}

fn prepare(hops: Vec<Hop>) -> PreparedChain {
    PreparedChain::new(ChainSpec::try_new(hops).unwrap())
}

fn at(origin: &Origin) -> Target {
    Target::from(origin.address())
}

fn request(target: &Target, purpose: Purpose) -> DialRequest<'_> {
    DialRequest {
        target,
        purpose,
        session: None,
        deadline: Instant::now() + Duration::from_secs(20),
    }
}

async fn tunnel(chain: &PreparedChain, target: &Target) -> Result<Dialed, DialError> {
    connector().dial(chain, request(target, Purpose::Tunnel)).await
}

async fn forward(chain: &PreparedChain, target: &Target) -> Result<Dialed, DialError> {
    connector().dial(chain, request(target, Purpose::Forward)).await
}

fn authorization(form: &Form) -> Option<&str> {
    match form {
        Form::Absolute { authorization } => authorization.as_ref().map(Secret::expose),
        Form::Origin => panic!("absolute form was due"),
    }
}

async fn echoes(stream: &mut ChainStream) {
    let sent = b"over every hop";
    stream.write_all(sent).await.unwrap();
    let mut back = [0; 14];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, sent);
}

/// An https proxy, and the hop to dial it with.
async fn https(ca: &TestCa, leaf: &Leaf) -> (Proxy, Hop) {
    let proxy = Proxy::https(leaf).basic("tls", "s3cret").start().await;
    let mut hop = proxy.hop("tls").with_auth(AuthScheme::Basic);
    hop.tls.ca_file = Some(ca.file());
    (proxy, hop)
}

fn names(timings: &[HopTiming]) -> Vec<&str> {
    timings.iter().map(|timing| timing.hop.as_str()).collect()
}

#[tokio::test]
async fn every_kind_of_hop_leads_to_the_next() {
    let origin = Origin::start(OriginKind::Echo).await;
    let ca = TestCa::new();
    let leaf = ca.issue(&["127.0.0.1"]);
    let (tls, tls_hop) = https(&ca, &leaf).await;
    let (inner_tls, mut inner_hop) = https(&ca, &leaf).await;
    inner_hop = inner_hop.named(pcs_models::HopName::from(
        &"inner".parse::<pcs_models::ProxyId>().unwrap(),
    ));
    let http = Proxy::http().basic("web", "s3cret").start().await;
    let five = Proxy::socks5().basic("five", "s3cret").start().await;
    let four = Proxy::socks4().basic("four", "").start().await;
    let chain = prepare(vec![
        http.hop("web").with_auth(AuthScheme::Basic),
        five.hop("five"),
        tls_hop,
        four.hop("four"),
        inner_hop,
    ]);
    let mut dialed = tunnel(&chain, &at(&origin)).await.unwrap();
    echoes(&mut dialed.stream).await;
    assert_eq!(dialed.form, Form::Origin);
    assert_eq!(
        names(&dialed.timings),
        ["web", "five", "tls", "four", "inner", "target"]
    );
    let said: Vec<_> = dialed
        .timings
        .iter()
        .map(|timing| timing.said.as_ref().map(ToString::to_string))
        .collect();
    assert_eq!(said[1].as_deref(), Some("200 Connection established"));
    assert_eq!(said[2].as_deref(), Some("SOCKS5 succeeded"));
    assert_eq!(said[4].as_deref(), Some("SOCKS4 granted"));
    assert!(!dialed.timings[2].tls.is_zero() && !dialed.timings[4].tls.is_zero());
    assert_eq!(http.targets(), [five.address().to_string()]);
    assert_eq!(inner_tls.targets(), [origin.address().to_string()]);
    assert_eq!((tls.accepted(), origin.accepted()), (1, 1));
}

#[tokio::test]
async fn a_chain_of_sixteen_hops_stands() {
    let origin = Origin::start(OriginKind::Echo).await;
    let proxies = [Proxy::http().start().await, Proxy::socks5().start().await];
    let hops = (0..16).map(|n| proxies[n % 2].hop(&format!("hop-{n}"))).collect();
    let mut dialed = tunnel(&prepare(hops), &at(&origin)).await.unwrap();
    echoes(&mut dialed.stream).await;
    assert_eq!(dialed.timings.len(), 17);
}

#[tokio::test]
async fn a_target_that_speaks_first_loses_no_byte() {
    let origin = Origin::start(OriginKind::SpeaksFirst(b"220 hello there\r\n".to_vec())).await;
    for builder in [Proxy::http(), Proxy::socks4(), Proxy::socks5()] {
        let (near, far) = (
            Proxy::http().start().await,
            builder.behaviour(Behaviour::Coalesce).start().await,
        );
        let chain = prepare(vec![near.hop("near"), far.hop("far")]);
        let mut stream = tunnel(&chain, &at(&origin)).await.unwrap().stream;
        let mut first = [0; 17];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"220 hello there\r\n");
        echoes(&mut stream).await;
    }
}

#[tokio::test]
async fn names_of_targets_are_told_to_the_last_hop_as_they_are() {
    let origin = Origin::start(OriginKind::Echo).await;
    for builder in [Proxy::http(), Proxy::socks4(), Proxy::socks5()] {
        let proxy = builder.resolve("only.there.example", "127.0.0.1").start().await;
        let place: Target = format!("only.there.example:{}", origin.port()).parse().unwrap();
        let mut dialed = tunnel(&prepare(vec![proxy.hop("p")]), &place).await.unwrap();
        echoes(&mut dialed.stream).await;
        assert_eq!(proxy.targets(), [place.to_string()]);
    }
}

#[tokio::test]
async fn the_facade_gives_a_stream() {
    let origin = Origin::start(OriginKind::Echo).await;
    let near = Proxy::http().basic("us er", "p@:%").start().await;
    let far = Proxy::socks5().basic("u", "p").start().await;
    let url = format!("http://us%20er:p%40%3A%25@{}", near.address());
    let chain = Chain::builder()
        .hop(url.as_str())
        .hop(far.url().as_str())
        .build()
        .unwrap();
    let mut stream = chain.connect(&origin.address().to_string()).await.unwrap();
    echoes(&mut stream).await;
    let error = chain.connect("no target").await.unwrap_err();
    assert_eq!((error.blame(), error.retry()), (Blame::Client, Retry::Never));
}

#[tokio::test]
async fn a_fixed_chain_notes_its_one_attempt() {
    let origin = Origin::start(OriginKind::Echo).await;
    let proxy = Proxy::http().start().await;
    let fixed = FixedChain::new(
        Arc::new(connector()),
        prepare(vec![proxy.hop("p")]),
        Via::Corporate,
    );
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut asked = ConnectRequest::tunnel(at(&origin), deadline);
    let mut connected = fixed.connect(&mut asked).await.unwrap();
    echoes(&mut connected.stream).await;
    assert_eq!((asked.attempts.len(), asked.attempts[0].failure), (1, None));
    proxy.behave(Behaviour::Status(503));
    let mut asked = ConnectRequest::tunnel(at(&origin), deadline);
    fixed.connect(&mut asked).await.unwrap_err();
    assert_eq!(
        asked.attempts[0].failure,
        Some((FailureKind::Status, Blame::Target))
    );
}

#[tokio::test]
async fn a_direct_dial_has_to_be_spelled_out_and_never_finds_ourselves() {
    let origin = Origin::start(OriginKind::Echo).await;
    let direct = PreparedChain::new(ChainSpec::direct());
    let mut dialed = tunnel(&direct, &at(&origin)).await.unwrap();
    echoes(&mut dialed.stream).await;
    assert_eq!(names(&dialed.timings), ["target"]);
    let (nobody, _held) = refusing_address();
    let error = tunnel(&direct, &Target::from(nobody)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.blame()),
        (FailureKind::Refused, Blame::Target)
    );
    assert_eq!(error.hop().unwrap().as_str(), "target");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = OwnListeners::default();
    own.set(vec![listener.local_addr().unwrap()]);
    let network = Arc::new(Network::new(NetworkSettings::default()).guarding(own));
    let guarded = ChainConnector::new(network, DialTimeouts::default());
    let here = Target::from(listener.local_addr().unwrap());
    let error = guarded
        .dial(&direct, request(&here, Purpose::Tunnel))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.blame()),
        (FailureKind::Denied, Blame::Client)
    );
    let hop = Hop::new(Protocol::Http, here.as_endpoint());
    let error = guarded
        .dial(&prepare(vec![hop]), request(&at(&origin), Purpose::Tunnel))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.blame()),
        (FailureKind::Loop, Blame::Hop(HopIndex(0)))
    );
}

/// Kind, blame and name of a failure.
type Fails = (FailureKind, Blame, &'static str);

/// How the first of two hops, then the second, fails.
#[tokio::test]
async fn each_failure_names_its_hop() {
    let hop = |at| Blame::Hop(HopIndex(at));
    let cases: &[(Behaviour, Fails, Fails)] = &[
        (
            Behaviour::Status(503),
            (FailureKind::Status, hop(1), "far"),
            (FailureKind::Status, Blame::Target, "far"),
        ),
        (
            Behaviour::Status(403),
            (FailureKind::Status, hop(0), "near"),
            (FailureKind::Status, Blame::Target, "far"),
        ),
        (
            Behaviour::Status(407),
            (FailureKind::Auth, hop(0), "near"),
            (FailureKind::Auth, hop(1), "far"),
        ),
        (
            Behaviour::Garbage,
            (FailureKind::Protocol, hop(0), "near"),
            (FailureKind::Protocol, hop(1), "far"),
        ),
        (
            Behaviour::HugeHead,
            (FailureKind::Protocol, hop(0), "near"),
            (FailureKind::Protocol, hop(1), "far"),
        ),
        (
            Behaviour::ResetAtRequest,
            (FailureKind::Reset, hop(0), "near"),
            (FailureKind::Reset, Blame::Target, "far"),
        ),
        (
            Behaviour::CloseAtRequest,
            (FailureKind::Reset, hop(0), "near"),
            (FailureKind::Reset, Blame::Target, "far"),
        ),
    ];
    let origin = Origin::start(OriginKind::Echo).await;
    for (behaviour, near_fails, far_fails) in cases {
        for (expected, bad) in [(near_fails, 0), (far_fails, 1)] {
            let proxies = [Proxy::http().start().await, Proxy::http().start().await];
            proxies[bad].behave(behaviour.clone());
            let chain = prepare(vec![proxies[0].hop("near"), proxies[1].hop("far")]);
            let error = tunnel(&chain, &at(&origin)).await.unwrap_err();
            let got = (error.kind(), error.blame(), error.hop().unwrap().as_str());
            assert_eq!(got, *expected, "{behaviour:?} of hop {bad}: {error}");
            assert_eq!(error.retry(), Retry::Other);
            assert!(!error.timings().is_empty(), "{behaviour:?}");
        }
    }
    assert_eq!(origin.accepted(), 0, "no failure reaches the target");
}

#[tokio::test]
async fn a_hop_that_is_not_there_is_blamed_wherever_it_stands() {
    let origin = Origin::start(OriginKind::Echo).await;
    let (nobody, _held) = refusing_address();
    let gone = Hop::new(Protocol::Http, nobody.into());
    let error = tunnel(&prepare(vec![gone.clone()]), &at(&origin))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.blame()),
        (FailureKind::Refused, Blame::Hop(HopIndex(0)))
    );
    assert_eq!(error.hop().unwrap().as_str(), nobody.to_string());
    // Behind another the hop before it tells: an HTTP one by 502, a SOCKS5 one by its reply.
    for (builder, kind) in [
        (Proxy::http(), FailureKind::Status),
        (Proxy::socks5(), FailureKind::Refused),
    ] {
        let near = builder.start().await;
        let error = tunnel(&prepare(vec![near.hop("near"), gone.clone()]), &at(&origin))
            .await
            .unwrap_err();
        assert_eq!((error.kind(), error.blame()), (kind, Blame::Hop(HopIndex(1))));
        assert_eq!(error.hop().unwrap().as_str(), nobody.to_string());
    }
}

#[tokio::test]
async fn a_hop_that_hangs_or_dribbles_ends_in_time() {
    let origin = Origin::start(OriginKind::Echo).await;
    for behaviour in [
        Behaviour::HangAtAccept,
        Behaviour::HangAtRequest,
        Behaviour::Dribble(Duration::from_millis(50)),
    ] {
        for builder in [Proxy::http(), Proxy::socks5(), Proxy::socks4()] {
            let proxy = builder.behaviour(behaviour.clone()).start().await;
            let target = at(&origin);
            let chain = prepare(vec![proxy.hop("slow")]);
            let error = impatient()
                .dial(&chain, request(&target, Purpose::Tunnel))
                .await
                .unwrap_err();
            assert_eq!(error.kind(), FailureKind::Timeout, "{behaviour:?}: {error}");
            assert_eq!(error.hop().unwrap().as_str(), "slow");
        }
    }
}

#[tokio::test]
async fn socks_replies_tell_hop_and_target_apart() {
    let origin = Origin::start(OriginKind::Echo).await;
    let cases = [
        (1, FailureKind::Status, "five"),
        (2, FailureKind::Status, "five"),
        (4, FailureKind::Unreachable, "target"),
        (5, FailureKind::Refused, "target"),
        (6, FailureKind::Timeout, "target"),
    ];
    for (code, kind, name) in cases {
        let proxy = Proxy::socks5().behaviour(Behaviour::Reply(code)).start().await;
        let error = tunnel(&prepare(vec![proxy.hop("five")]), &at(&origin))
            .await
            .unwrap_err();
        assert_eq!((error.kind(), error.blame()), (kind, Blame::Target), "{code}");
        assert_eq!(
            (error.hop().unwrap().as_str(), error.status()),
            (name, None),
            "{code}"
        );
        let near = prepare(vec![proxy.hop("five"), Proxy::http().start().await.hop("far")]);
        let error = tunnel(&near, &at(&origin)).await.unwrap_err();
        let blamed = if code == 2 { "five" } else { "far" };
        assert_eq!(error.hop().unwrap().as_str(), blamed, "{code}");
    }
    let four = Proxy::socks4().start().await;
    let error = tunnel(&prepare(vec![four.hop("four")]), &"[::1]:80".parse().unwrap())
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.blame(), error.retry()),
        (FailureKind::Protocol, Blame::Client, Retry::Never)
    );
}

#[tokio::test]
async fn a_hop_that_cannot_prove_its_name_is_blamed_for_tls() {
    let origin = Origin::start(OriginKind::Echo).await;
    let ca = TestCa::new();
    let leaf = ca.issue(&["elsewhere.example"]);
    let near = Proxy::http().start().await;
    let (_proxy, mut hop) = https(&ca, &leaf).await;
    let error = tunnel(&prepare(vec![near.hop("near"), hop.clone()]), &at(&origin))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.blame()),
        (FailureKind::Tls, Blame::Hop(HopIndex(1)))
    );
    hop.tls.server_name = Some("elsewhere.example".to_owned());
    let mut dialed = tunnel(&prepare(vec![near.hop("near"), hop]), &at(&origin))
        .await
        .unwrap();
    echoes(&mut dialed.stream).await;
}

#[tokio::test]
async fn wrong_credentials_are_the_hop_s_failure_and_stay_secret() {
    let origin = Origin::start(OriginKind::Echo).await;
    for builder in [
        Proxy::http().basic("u", "right"),
        Proxy::socks5().basic("u", "right"),
        Proxy::http().ntlm("D", "u", "right"),
    ] {
        let proxy = builder.start().await;
        let mut hop = proxy.hop("p");
        hop.credentials = Some(Credentials::try_new("u", Secret::new("wr0ng-secret".into())).unwrap());
        let error = tunnel(&prepare(vec![hop]), &at(&origin)).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.blame()),
            (FailureKind::Auth, Blame::Hop(HopIndex(0))),
            "{error}"
        );
        let shown = format!(
            "{error} {error:?} {:?} {:?}",
            error.timings(),
            std::error::Error::source(&error)
        );
        assert!(
            !shown.contains("wr0ng") && !shown.contains("dTp3cjBuZy1zZWNyZXQ"),
            "{shown}"
        );
    }
    let silent = Proxy::http().basic("u", "p").start().await;
    let hop = Hop::new(Protocol::Http, silent.address().into());
    let error = tunnel(&prepare(vec![hop]), &at(&origin)).await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (FailureKind::Auth, Some(407)));
    assert!(error.to_string().contains("none are configured"), "{error}");
}

#[tokio::test]
async fn the_scheme_is_found_out_once_and_remembered() {
    let origin = Origin::start(OriginKind::Echo).await;
    let proxy = Proxy::http().basic("u", "p").start().await;
    let chain = prepare(vec![proxy.hop("p")]);
    for _ in 0..3 {
        let mut dialed = tunnel(&chain, &at(&origin)).await.unwrap();
        echoes(&mut dialed.stream).await;
    }
    let shown: Vec<bool> = proxy
        .heads()
        .iter()
        .map(|head| head.field("proxy-authorization").is_some())
        .collect();
    assert_eq!(shown, [false, true, true, true]);
    assert_eq!(
        proxy.accepted(),
        3,
        "the question and its answer share a connection"
    );
}

#[tokio::test]
async fn what_one_chain_has_found_out_the_next_through_that_hop_knows() {
    let origin = Origin::start(OriginKind::Echo).await;
    let corporate = Proxy::http().ntlm("CORP", "alice", "s3cret").start().await;
    let mut first = corporate.hop("corp");
    first.domain = Some("CORP".into());
    let mut members = Vec::new();
    for _ in 0..3 {
        members.push(Proxy::http().start().await);
    }
    for (member, legs) in members.iter().zip([3, 5, 7]) {
        let chain = prepare(vec![first.clone(), member.hop("member")]);
        let mut dialed = tunnel(&chain, &at(&origin)).await.unwrap();
        echoes(&mut dialed.stream).await;
        assert_eq!(corporate.heads().len(), legs);
    }
    // Another password is another matter.
    let stranger =
        first.with_credentials(Credentials::try_new("alice", Secret::new("s3cret".into())).unwrap());
    let chain = prepare(vec![stranger]);
    tunnel(&chain, &at(&origin)).await.unwrap();
    assert_eq!(corporate.heads().len(), 10);
}

#[tokio::test]
async fn ntlm_takes_three_legs_then_two_on_one_connection_each() {
    let origin = Origin::start(OriginKind::Echo).await;
    let corporate = Proxy::http()
        .ntlm("CORP", "alice", "s3cret")
        .basic("alice", "s3cret")
        .start()
        .await;
    let rotating = Proxy::http().basic("r", "s3cret").start().await;
    let mut hop = corporate.hop("corp");
    hop.domain = Some("CORP".into());
    let chain = prepare(vec![hop, rotating.hop("rot").with_auth(AuthScheme::Basic)]);
    for legs in [3, 5] {
        let mut dialed = tunnel(&chain, &at(&origin)).await.unwrap();
        echoes(&mut dialed.stream).await;
        assert_eq!(corporate.heads().len(), legs);
    }
    assert_eq!(corporate.accepted(), 2);
    assert_eq!(corporate.logins().len(), 2);
    let login = &corporate.logins()[0];
    assert_eq!(
        (
            login.domain.as_str(),
            login.user.as_str(),
            login.workstation.as_str()
        ),
        ("CORP", "alice", "")
    );
    for head in corporate.heads() {
        assert!(
            head.field("proxy-authorization")
                .is_none_or(|value| value.starts_with("NTLM "))
        );
        assert_eq!(head.field("proxy-connection"), Some("Keep-Alive"));
    }
    assert_eq!(rotating.heads().len(), 2, "members speak Basic unasked");
}

#[tokio::test]
async fn forced_ntlm_opens_at_once_and_reads_the_domain_from_the_user_name() {
    let origin = Origin::start(OriginKind::Echo).await;
    let proxy = Proxy::http().ntlm("CORP", "alice", "s3cret").start().await;
    let mut hop = proxy.hop("p").with_auth(AuthScheme::Ntlm);
    hop.domain = None;
    hop.credentials = Some(Credentials::try_new("CORP\\alice", Secret::new("s3cret".into())).unwrap());
    let mut dialed = tunnel(&prepare(vec![hop]), &at(&origin)).await.unwrap();
    echoes(&mut dialed.stream).await;
    assert_eq!(proxy.heads().len(), 2);
}

#[tokio::test]
async fn a_domain_password_never_goes_by_basic_even_where_that_is_forced() {
    let origin = Origin::start(OriginKind::Echo).await;
    let proxy = Proxy::http().basic("u", "p").start().await;
    for auth in [AuthScheme::Auto, AuthScheme::Basic, AuthScheme::Ntlm] {
        let mut hop = proxy.hop("p").with_auth(auth);
        hop.domain = Some("CORP".into());
        for purpose in [Purpose::Tunnel, Purpose::Forward] {
            let (chain, target) = (prepare(vec![hop.clone()]), at(&origin));
            if let Ok(dialed) = connector().dial(&chain, request(&target, purpose)).await {
                assert_eq!(authorization(&dialed.form), None, "{auth:?}");
            }
        }
    }
    assert!(proxy.heads().iter().all(|head| {
        head.field("proxy-authorization")
            .is_none_or(|value| !value.starts_with("Basic"))
    }));
}

/// A proxy by script: for each connection, what it answers to each head.
async fn scripted(script: Vec<Vec<&'static str>>) -> (Hop, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    #[expect(clippy::disallowed_methods, reason = "the test awaits it")]
    let serving = tokio::spawn(async move {
        let mut heads = Vec::new();
        for answers in script {
            let (mut stream, _) = listener.accept().await.unwrap();
            for answer in answers {
                heads.push(read_head(&mut stream).await);
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            drop(stream);
        }
        heads
    });
    let credentials = Credentials::try_new("u", Secret::new("p".into())).unwrap();
    (
        Hop::new(Protocol::Http, address.into()).with_credentials(credentials),
        serving,
    )
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(char::from(stream.read_u8().await.unwrap()));
    }
    head
}

const ASKS_AND_CLOSES: &str = "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\nProxy-Connection: close\r\nContent-Length: 2\r\n\r\nno";

#[tokio::test]
async fn a_hop_that_closes_after_its_407_is_dialled_again() {
    let ok = "HTTP/1.1 200 OK\r\n\r\nearly";
    let (hop, serving) = scripted(vec![vec![ASKS_AND_CLOSES], vec![ok]]).await;
    let mut dialed = tunnel(&prepare(vec![hop]), &"example.com:443".parse().unwrap())
        .await
        .unwrap();
    let mut early = String::new();
    dialed.stream.read_to_string(&mut early).await.unwrap();
    assert_eq!(early, "early");
    assert_eq!(names(&dialed.timings).len(), 2, "times of the last pass only");
    let heads = serving.await.unwrap();
    assert!(!heads[0].contains("Proxy-Authorization"), "{}", heads[0]);
    assert!(
        heads[1].contains("Proxy-Authorization: Basic dTpw\r\n"),
        "{}",
        heads[1]
    );
}

#[tokio::test]
async fn a_hop_that_never_has_enough_is_given_up() {
    let (hop, _serving) = scripted(vec![vec![ASKS_AND_CLOSES]; 9]).await;
    let error = tunnel(&prepare(vec![hop]), &"example.com:443".parse().unwrap())
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.blame()),
        (FailureKind::Auth, Blame::Hop(HopIndex(0)))
    );
}

#[tokio::test]
async fn plain_requests_end_at_an_http_hop_with_the_credentials_to_send() {
    let origin = Origin::start(OriginKind::Http).await;
    let near = Proxy::socks5().start().await;
    let far = Proxy::http().basic("u", "p").start().await;
    let forced = prepare(vec![
        near.hop("near"),
        far.hop("far").with_auth(AuthScheme::Basic),
    ]);
    let dialed = forward(&forced, &at(&origin)).await.unwrap();
    assert_eq!(authorization(&dialed.form), Some("Basic dTpw"));
    assert_eq!(
        far.heads().len(),
        0,
        "nothing is asked where nothing has to be found out"
    );

    let auto = prepare(vec![near.hop("near"), far.hop("far")]);
    for probes in [1, 1] {
        let dialed = forward(&auto, &at(&origin)).await.unwrap();
        assert_eq!(authorization(&dialed.form), Some("Basic dTpw"));
        assert_eq!(far.heads().len(), probes);
    }
    auto.forget_login();
    forward(&auto, &at(&origin)).await.unwrap();
    assert_eq!(far.heads().len(), 2, "found out anew");

    let free = Proxy::http().start().await;
    let open = prepare(vec![free.hop("open")]);
    assert_eq!(
        authorization(&forward(&open, &at(&origin)).await.unwrap().form),
        None
    );
    let mut hop = free.hop("open");
    hop.credentials = Some(Credentials::try_new("u", Secret::new("p".into())).unwrap());
    let dialed = forward(&prepare(vec![hop]), &at(&origin)).await.unwrap();
    assert_eq!(authorization(&dialed.form), None);
    let heads = free.heads();
    assert!(
        !heads.is_empty()
            && heads
                .iter()
                .all(|head| head.field("proxy-authorization").is_none()),
        "a hop that asks for nothing is shown nothing"
    );
    let socks = prepare(vec![near.hop("near")]);
    assert_eq!(forward(&socks, &at(&origin)).await.unwrap().form, Form::Origin);
}

#[tokio::test]
async fn plain_requests_over_ntlm_carry_the_last_leg_and_then_nothing() {
    let origin = Origin::start(OriginKind::Http).await;
    let proxy = Proxy::http().ntlm("CORP", "alice", "s3cret").start().await;
    let dialed = forward(&prepare(vec![proxy.hop("p")]), &at(&origin))
        .await
        .unwrap();
    let value = authorization(&dialed.form).unwrap().to_owned();
    assert!(value.starts_with("NTLM "));
    assert_eq!(origin.heads().len(), 0, "the question does not reach the target");
    let mut stream = dialed.stream;
    for field in [format!("Proxy-Authorization: {value}\r\n"), String::new()] {
        let asked = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\n{field}\r\n",
            origin.url("/ip"),
            origin.address()
        );
        stream.write_all(asked.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        let mut rest = vec![0; 4096];
        while !rest.windows(9).any(|window| window == b"127.0.0.1") {
            assert!(stream.read(&mut rest).await.unwrap() > 0);
        }
    }
    assert_eq!(proxy.logins().len(), 1);
}

#[tokio::test]
async fn an_open_hop_that_closes_after_each_answer_is_asked_once() {
    let served = "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n";
    let (hop, serving) = scripted(vec![vec![served], vec![]]).await;
    let dialed = forward(&prepare(vec![hop]), &"example.com:80".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(authorization(&dialed.form), None);
    assert_eq!(serving.await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_head_answered_with_a_body_is_no_connection_to_go_on_with() {
    let asked = "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 5\r\n\r\n<p>no";
    let (hop, serving) = scripted(vec![vec![asked]]).await;
    let error = forward(&prepare(vec![hop]), &"example.com:80".parse().unwrap())
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.blame()),
        (FailureKind::Protocol, Blame::Hop(HopIndex(0)))
    );
    serving.await.unwrap();
}

#[tokio::test]
async fn a_session_fills_the_template_or_a_fresh_one_does() {
    let origin = Origin::start(OriginKind::Echo).await;
    let proxy = Proxy::http().start().await;
    let mut hop = proxy.hop("p").with_auth(AuthScheme::Basic);
    hop.credentials = Some(Credentials::try_new("u-{session}", Secret::new("p".into())).unwrap());
    let (chain, target) = (prepare(vec![hop]), at(&origin));
    let session: SessionId = "abc".parse().unwrap();
    for session in [Some(&session), None, None] {
        let request = DialRequest {
            session,
            ..request(&target, Purpose::Tunnel)
        };
        connector().dial(&chain, request).await.unwrap();
    }
    let shown: Vec<String> = proxy
        .heads()
        .iter()
        .filter_map(|head| head.field("proxy-authorization").map(str::to_owned))
        .collect();
    assert_eq!(shown[0], "Basic dS1hYmM6cA==");
    assert_ne!(shown[1], shown[2], "each tunnel has its own");
    let long: SessionId = "x".repeat(128).parse().unwrap();
    let mut hop = proxy.hop("p");
    hop.credentials = Some(
        Credentials::try_new(
            &format!("{}{{session}}", "u".repeat(200)),
            Secret::new("p".into()),
        )
        .unwrap(),
    );
    let request = DialRequest {
        session: Some(&long),
        ..request(&target, Purpose::Tunnel)
    };
    let accepted = proxy.accepted();
    let error = connector().dial(&prepare(vec![hop]), request).await.unwrap_err();
    assert_eq!((error.blame(), error.retry()), (Blame::Client, Retry::Never));
    assert_eq!(error.kind(), FailureKind::BadSession);
    assert_eq!(proxy.accepted(), accepted, "nothing was dialled");
}

#[tokio::test]
async fn a_warm_chain_needs_one_more_question() {
    let origin = Origin::start(OriginKind::Echo).await;
    let corporate = Proxy::http().ntlm("CORP", "alice", "s3cret").start().await;
    let ca = TestCa::new();
    let (tls, tls_hop) = https(&ca, &ca.issue(&["127.0.0.1"])).await;
    let chain = prepare(vec![corporate.hop("corp"), tls_hop]);
    let (connector, target) = (connector(), at(&origin));
    let deadline = Instant::now() + Duration::from_secs(20);
    let warm = connector.warm(&chain, deadline).await.unwrap();
    assert_eq!(
        (corporate.logins().len(), tls.heads().len()),
        (1, 0),
        "all but the last question was asked"
    );
    assert_eq!(origin.accepted(), 0);
    let mut dialed = connector
        .finish(warm, &chain, request(&target, Purpose::Tunnel))
        .await
        .unwrap();
    echoes(&mut dialed.stream).await;
    assert_eq!(names(&dialed.timings), ["corp", "tls", "target"]);
    assert_eq!((corporate.accepted(), tls.accepted()), (1, 1));

    let warm = connector.warm(&chain, deadline).await.unwrap();
    tls.kill();
    let error = connector
        .finish(warm, &chain, request(&target, Purpose::Tunnel))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), FailureKind::Reset, "{error}");
    let direct = PreparedChain::new(ChainSpec::direct());
    assert_eq!(
        connector.warm(&direct, deadline).await.unwrap_err().blame(),
        Blame::Local
    );
}

#[tokio::test]
async fn a_warm_socks5_hop_is_greeted_but_told_no_session() {
    let origin = Origin::start(OriginKind::Echo).await;
    let proxy = Proxy::socks5().basic("u-abc", "p").start().await;
    let near = Proxy::http().start().await;
    let (connector, target) = (connector(), at(&origin));
    let deadline = Instant::now() + Duration::from_secs(20);
    let session: SessionId = "abc".parse().unwrap();
    let mut templated = proxy.hop("five");
    templated.credentials = Some(Credentials::try_new("u-{session}", Secret::new("p".into())).unwrap());
    let far = Proxy::socks5().start().await;
    for hops in [
        vec![near.hop("near"), proxy.hop("five")],
        vec![near.hop("near"), templated.clone()],
        // Warmth ends in front of the first hop that wants to be told a session.
        vec![near.hop("near"), templated, far.hop("far")],
    ] {
        let chain = prepare(hops);
        let warm = connector.warm(&chain, deadline).await.unwrap();
        let request = DialRequest {
            session: Some(&session),
            ..request(&target, Purpose::Tunnel)
        };
        let mut dialed = connector.finish(warm, &chain, request).await.unwrap();
        echoes(&mut dialed.stream).await;
    }
    assert_eq!(
        (near.accepted(), proxy.accepted(), far.accepted()),
        (3, 3, 1),
        "nothing was dialled twice"
    );
}

#[tokio::test]
async fn a_dial_that_is_dropped_closes_its_connection() {
    let origin = Origin::start(OriginKind::Echo).await;
    let proxy = Proxy::http().behaviour(Behaviour::HangAtRequest).start().await;
    let (chain, target, connector) = (prepare(vec![proxy.hop("p")]), at(&origin), connector());
    let dial = connector.dial(&chain, request(&target, Purpose::Tunnel));
    tokio::select! {
        _ = dial => panic!("nobody answers"),
        () = until("dialled", || proxy.accepted() == 1) => {}
    }
    until("closed", || proxy.active() == 0).await;
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn futures_of_dials_stay_small() {
    let target: Target = "example.com:443".parse().unwrap();
    let (connector, chain) = (connector(), PreparedChain::new(ChainSpec::direct()));
    let dial = connector.dial(&chain, request(&target, Purpose::Tunnel));
    assert!(size_of_val(&*dial) <= 4096, "{} bytes", size_of_val(&*dial));
}
