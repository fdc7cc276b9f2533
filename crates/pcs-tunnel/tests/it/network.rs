//! Dialling and TLS over real sockets.

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pcs_models::{Endpoint, FailureKind, Host, TlsOptions};
use pcs_tunnel::{BoxFuture, ChainStream, NetError, Network, NetworkSettings, OwnListeners, Resolve, relay};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::HandshakeKind;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

/// Answers every name with these addresses, or never.
struct Fixed(Option<Vec<IpAddr>>);

impl Resolve for Fixed {
    fn resolve(&self, _name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let answer = self.0.clone();
        Box::pin(async move {
            match answer {
                Some(addresses) => Ok(addresses),
                None => std::future::pending().await,
            }
        })
    }
}

fn resolving(addresses: &[&str]) -> Network {
    let addresses = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
    Network::with_resolver(NetworkSettings::default(), Arc::new(Fixed(Some(addresses))))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn endpoint(host: &str, port: u16) -> Endpoint {
    Endpoint::try_new(Host::parse(host).unwrap(), port).unwrap()
}

async fn listener(address: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A port on which nobody listens.
async fn closed_port() -> u16 {
    listener("127.0.0.1:0").await.1.port()
}

#[tokio::test]
async fn a_literal_address_is_dialled_without_delay_of_small_writes() {
    let (listener, address) = listener("127.0.0.1:0").await;
    let network = Network::default();
    let dialled = network.connect_tcp(&address.into(), soon()).await.unwrap();
    assert!(dialled.stream.nodelay().unwrap());
    assert_eq!((dialled.address, dialled.dns), (address, Duration::ZERO));
    let (mut peer, from) = listener.accept().await.unwrap();
    assert_eq!(from, dialled.stream.local_addr().unwrap());
    let mut stream = dialled.stream;
    stream.write_all(b"hello").await.unwrap();
    let mut heard = [0; 5];
    peer.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
}

#[tokio::test]
async fn a_refused_connection_says_where() {
    let port = closed_port().await;
    let error = Network::default()
        .connect_tcp(&endpoint("127.0.0.1", port), soon())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), FailureKind::Refused);
    assert_eq!(
        error.to_string(),
        format!("could not connect to 127.0.0.1:{port}")
    );
    assert!(error.source().is_some());
}

#[tokio::test]
async fn a_name_is_dialled_by_the_address_that_works() {
    let (_listener, address) = listener("127.0.0.3:0").await;
    let network = resolving(&["127.0.0.2", "127.0.0.3"]);
    let dialled = network
        .connect_tcp(&endpoint("proxy.example", address.port()), soon())
        .await
        .unwrap();
    assert_eq!(dialled.address, address);
    let single = resolving(&["127.0.0.3"]);
    assert_eq!(
        single
            .connect_tcp(&endpoint("proxy.example", address.port()), soon())
            .await
            .unwrap()
            .address,
        address
    );
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_never_answers_costs_no_more_than_the_deadline() {
    let network = Network::with_resolver(NetworkSettings::default(), Arc::new(Fixed(None)));
    let begun = Instant::now();
    let error = network
        .connect_tcp(&endpoint("proxy.example", 3128), soon())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), FailureKind::Timeout);
    assert_eq!(
        error.to_string(),
        "connecting to proxy.example:3128 took too long"
    );
    assert_eq!(begun.elapsed(), Duration::from_secs(10));
}

#[tokio::test]
async fn our_own_listeners_are_not_dialled_by_any_of_their_names() {
    let (exact, exact_address) = listener("127.0.0.1:0").await;
    let (wildcard, wildcard_address) = listener("0.0.0.0:0").await;
    let own = OwnListeners::default();
    own.set(vec![exact_address, wildcard_address]);
    let network = resolving(&["127.0.0.1"]).guarding(own);
    let (first, second) = (exact_address.port(), wildcard_address.port());
    let ours = this_machine().to_string();
    for (host, port) in [
        ("127.0.0.1", first),
        ("0.0.0.0", first),
        ("any.example", first),
        ("127.9.9.9", second),
        (&ours, second),
    ] {
        let error = network
            .connect_tcp(&endpoint(host, port), soon())
            .await
            .unwrap_err();
        assert!(matches!(error, NetError::Loop { .. }), "{host}:{port}: {error:?}");
        assert_eq!(error.kind(), FailureKind::Loop);
    }
    drop((exact, wildcard));
}

/// An address of this machine, if possible one that does not show it.
fn this_machine() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Connecting a datagram socket sends nothing; it only picks the address that would be used.
    match socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr()) {
        Ok(address) => address.ip(),
        Err(_) => Ipv4Addr::LOCALHOST.into(),
    }
}

/// A TLS server for `localhost` with an authority of its own, which proves itself once per connection.
struct Server {
    directory: TempDir,
    acceptor: TlsAcceptor,
}

impl Server {
    fn new() -> Self {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = authority.self_signed(&authority_key).unwrap().pem();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".into()])
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();
        Self::showing(&certificate, &key, &pem)
    }

    /// Shows this certificate, and has a file of these to trust.
    fn showing(certificate: &rcgen::Certificate, key: &KeyPair, trusted: &str) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), trusted).unwrap();
        Self {
            directory,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        }
    }

    fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    fn trusted(&self) -> TlsOptions {
        TlsOptions {
            ca_file: Some(self.ca_file()),
            ..TlsOptions::default()
        }
    }

    /// One handshake: what the client made of it. The server greets, so that tickets arrive.
    async fn shake(
        &self,
        network: &Network,
        host: &str,
        options: &TlsOptions,
    ) -> Result<HandshakeKind, NetError> {
        let (near, far) = pair().await;
        let client = async {
            let mut tls = network
                .tls(near, &Host::parse(host).unwrap(), options, soon())
                .await?;
            assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
            let mut greeting = [0; 5];
            tls.read_exact(&mut greeting).await.unwrap();
            Ok(tls.get_ref().1.handshake_kind().unwrap())
        };
        let server = async {
            if let Ok(mut tls) = self.acceptor.accept(far).await {
                tls.write_all(b"hello").await.unwrap();
                tls.flush().await.unwrap();
                assert_eq!(tls.read(&mut [0]).await.unwrap_or(0), 0);
            }
        };
        tokio::join!(client, server).0
    }
}

async fn pair() -> (ChainStream, TcpStream) {
    let (listener, address) = listener("127.0.0.1:0").await;
    let (near, far) = tokio::join!(crate::dial(address), listener.accept());
    (near.into(), far.unwrap().0)
}

#[tokio::test]
async fn certificates_are_proven_against_the_configured_authority() {
    let server = Server::new();
    let network = Network::default();
    let trusted = server.trusted();
    server.shake(&network, "localhost", &trusted).await.unwrap();
    server.shake(&network, "LOCALHOST.", &trusted).await.unwrap();

    let error = server
        .shake(&network, "other.example", &trusted)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), FailureKind::Tls);
    assert_eq!(
        error.to_string(),
        "the TLS handshake with other.example went wrong"
    );
    let error = server
        .shake(&network, "localhost", &TlsOptions::default())
        .await
        .unwrap_err();
    assert_eq!(
        error.kind(),
        FailureKind::Tls,
        "the system does not know this authority"
    );

    let renamed = TlsOptions {
        server_name: Some("localhost".into()),
        ..trusted.clone()
    };
    server.shake(&network, "127.0.0.1", &renamed).await.unwrap();
    let wrong = TlsOptions {
        server_name: Some("not a name".into()),
        ..trusted
    };
    assert!(matches!(
        server.shake(&network, "localhost", &wrong).await,
        Err(NetError::ServerName { .. })
    ));

    let careless = TlsOptions {
        insecure_skip_verify: true,
        ..TlsOptions::default()
    };
    server.shake(&network, "other.example", &careless).await.unwrap();
}

#[tokio::test]
async fn a_server_that_shows_a_listed_certificate_itself_is_trusted() {
    type Form = fn(&mut CertificateParams);
    let authority = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority: Form = authority;
    let old: Form = |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    };
    let server: Form = |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
    };
    let client: Form = |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    let cases = [
        ("self-signed", (|_| {}) as Form, "localhost", true),
        (
            "self-signed, marked as an authority's",
            authority,
            "localhost",
            true,
        ),
        ("of another name", authority, "other.example", false),
        ("expired", old, "localhost", false),
        ("for servers", server, "localhost", true),
        ("for clients alone", client, "localhost", false),
    ];
    for (name, form, host, good) in cases {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
        form(&mut params);
        let shown = params.self_signed(&key).unwrap();
        let server = Server::showing(&shown, &key, &shown.pem());
        let shaken = server.shake(&Network::default(), host, &server.trusted()).await;
        assert_eq!(shaken.is_ok(), good, "{name}: {shaken:?}");

        // The same names and form under the same subject, of another key: not what is listed.
        let other = KeyPair::generate().unwrap();
        let stranger = params.self_signed(&other).unwrap();
        let server = Server::showing(&stranger, &other, &shown.pem());
        let shaken = server.shake(&Network::default(), host, &server.trusted()).await;
        assert!(shaken.is_err(), "{name}, of another key");
    }
}

#[tokio::test]
async fn a_listed_certificate_needs_no_listed_issuer() {
    let issuer = Issuer::new(CertificateParams::default(), KeyPair::generate().unwrap());
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let shown = params.signed_by(&key, &issuer).unwrap();
    let server = Server::showing(&shown, &key, &shown.pem());
    let network = Network::default();
    server
        .shake(&network, "localhost", &server.trusted())
        .await
        .unwrap();
    let error = server.shake(&network, "other.example", &server.trusted()).await;
    assert_eq!(error.unwrap_err().kind(), FailureKind::Tls);
}

#[tokio::test]
async fn a_second_handshake_resumes_the_session_until_all_is_forgotten() {
    let server = Server::new();
    let network = Network::default();
    let trusted = server.trusted();
    assert_eq!(
        server.shake(&network, "localhost", &trusted).await.unwrap(),
        HandshakeKind::Full
    );
    assert_eq!(
        server.shake(&network, "localhost", &trusted).await.unwrap(),
        HandshakeKind::Resumed
    );
    network.forget();
    assert_eq!(
        server.shake(&network, "localhost", &trusted).await.unwrap(),
        HandshakeKind::Full
    );
}

#[tokio::test]
async fn a_bad_authority_file_is_named_and_read_again_once_it_is_good() {
    let server = Server::new();
    let network = Network::default();
    let trusted = server.trusted();
    let pem = std::fs::read(server.ca_file()).unwrap();
    for bad in [
        &b"no certificate"[..],
        b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    ] {
        std::fs::write(server.ca_file(), bad).unwrap();
        let error = server.shake(&network, "localhost", &trusted).await.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Local);
        assert!(error.to_string().contains("ca.pem"), "{error}");
    }
    std::fs::remove_file(server.ca_file()).unwrap();
    assert!(matches!(
        server.shake(&network, "localhost", &trusted).await,
        Err(NetError::CaFile { .. })
    ));
    std::fs::write(server.ca_file(), pem).unwrap();
    server.shake(&network, "localhost", &trusted).await.unwrap();
    std::fs::remove_file(server.ca_file()).unwrap();
    server.shake(&network, "localhost", &trusted).await.unwrap();
    network.forget();
    server.shake(&network, "localhost", &trusted).await.unwrap_err();
}

#[tokio::test]
async fn a_peer_that_speaks_no_tls_or_leaves_is_told_apart() {
    let network = Network::default();
    let host = Host::parse("proxy.example").unwrap();
    let options = TlsOptions {
        insecure_skip_verify: true,
        ..TlsOptions::default()
    };
    let (near, mut far) = pair().await;
    far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let error = network.tls(near, &host, &options, soon()).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Tls);
    let (near, far) = pair().await;
    drop(far);
    let error = network.tls(near, &host, &options, soon()).await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Reset);
}

#[tokio::test]
async fn a_peer_that_never_answers_a_handshake_costs_no_more_than_the_deadline() {
    let (near, _far) = pair().await;
    let network = Network::default();
    let host = Host::parse("proxy.example").unwrap();
    let options = TlsOptions {
        insecure_skip_verify: true,
        ..TlsOptions::default()
    };
    // The set-up runs on another thread; a paused clock would not wait for it.
    let error = network
        .tls(near, &host, &options, Instant::now() + Duration::from_millis(50))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), FailureKind::Timeout);
}

#[tokio::test]
async fn a_relay_over_tls_delivers_everything_both_ways() {
    let server = Server::new();
    let network = Network::default();
    let (near, far) = pair().await;
    let host = Host::parse("localhost").unwrap();
    let options = server.trusted();
    let (upstream, hop) = tokio::join!(
        network.tls(near, &host, &options, soon()),
        server.acceptor.accept(far)
    );
    let (client, browser) = pair().await;
    let upstream = ChainStream::new(pcs_tunnel::Io::Tls(Box::new(upstream.unwrap())));
    let (mut hop_in, mut hop_out) = tokio::io::split(hop.unwrap());
    let (mut browser_in, mut browser_out) = browser.into_split();
    let payload = crate::pattern::chunks(7, 4 << 20).collect::<Vec<_>>().concat();
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let send_up = async {
        browser_out.write_all(&payload).await.unwrap();
        browser_out.shutdown().await.unwrap();
    };
    let send_down = async {
        hop_out.write_all(&payload).await.unwrap();
        hop_out.shutdown().await.unwrap();
    };
    let (report, _, _, read_up, read_down) = tokio::join!(
        relay(client, upstream),
        send_up,
        send_down,
        hop_in.read_to_end(&mut up),
        browser_in.read_to_end(&mut down),
    );
    assert_eq!(
        (read_up.unwrap(), read_down.unwrap()),
        (payload.len(), payload.len())
    );
    assert!(up == payload && down == payload);
    assert_eq!((report.up, report.down, report.spliced), (4 << 20, 4 << 20, 0));
    assert!(report.error.is_none(), "{report:?}");
}

#[test]
fn a_stream_that_moves_to_another_runtime_needs_the_first_no_more() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let (first, second) = (runtime(), runtime());
    let (stream, mut far) = first.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        near.set_nonblocking(true).unwrap();
        let accepted = listener.accept().await;
        let far = accepted.unwrap().0.into_std().unwrap();
        (
            ChainStream::from(TcpStream::from_std(near).unwrap()).rewound(Bytes::from_static(b"early ")),
            far,
        )
    });
    let mut stream = second.block_on(async { stream.rehomed().unwrap() });
    drop(first);
    second.block_on(async move {
        far.set_nonblocking(false).unwrap();
        let teller = std::thread::spawn(move || {
            io::Write::write_all(&mut far, b"and late").unwrap();
        });
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "early and late");
        teller.join().unwrap();
    });
}
