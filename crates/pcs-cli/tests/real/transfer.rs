//! Bytes: none lost, none changed, many at once.

use pcs_testkit::real::{Squid, Tinyproxy};
use pcs_testkit::{Behaviour, Digest, Origin, OriginKind, Pattern, Proxy, need, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::clients::{connect, dial, read_head};
use crate::pcs::{CORPORATE, Pcs, ROTATING, config, corporate, member, squid};

const MIB: u64 = 1 << 20;

/// Sends pattern 5 and reads pattern 2, both at once, then what the origin made of the former.
async fn exchange(pcs: &Pcs, origin: &Origin, length: u64) {
    let (stream, head) = connect(pcs.address(), &origin.address().to_string()).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let (mut reader, mut writer) = stream.into_split();
    let write = async move {
        let mut pattern = Pattern::new(5);
        for _ in 0..length / MIB {
            writer.write_all(&pattern.take(1 << 20)).await.unwrap();
        }
        writer
    };
    let read = async move {
        let mut digest = Digest::default();
        let mut buffer = vec![0; 256 * 1024];
        while digest.length() < length {
            let room = buffer
                .len()
                .min(usize::try_from(length - digest.length()).unwrap());
            let read = reader.read(&mut buffer[..room]).await.unwrap();
            assert_ne!(read, 0, "ended after {} bytes", digest.length());
            digest.add(&buffer[..read]);
        }
        let mut told = String::new();
        reader.read_to_string(&mut told).await.unwrap();
        (digest, told)
    };
    let (_writer, (digest, told)) = tokio::join!(write, read);
    assert_eq!(digest, Pattern::digest(2, length), "what the client read");
    assert_eq!(
        told.trim(),
        Pattern::digest(5, length).to_string(),
        "what the target read"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_mebibytes_each_way_at_once_through_two_hops_arrive_unchanged() {
    const LENGTH: u64 = 64 * MIB;
    let first = need!(Squid::new().basic(CORPORATE.0, CORPORATE.1).start());
    let second = need!(Tinyproxy::new().basic(ROTATING.0, ROTATING.1).start());
    let origin = Origin::start(OriginKind::Exchange(LENGTH)).await;
    let members = [member("tiny-1", "http", second.address(), Some(ROTATING))];
    let pcs = Pcs::start(&config(Some(&squid(&first)), &members, "")).await;
    exchange(&pcs, &origin, LENGTH).await;
    let access = pcs.accesses(1).await.remove(0);
    assert_eq!(access["bytes_up"], LENGTH, "{access}");
    let told = Pattern::digest(5, LENGTH).to_string().len() as u64 + 1;
    assert_eq!(access["bytes_down"], LENGTH + told, "{access}");
}

#[tokio::test]
async fn a_server_that_speaks_first_in_the_packet_of_the_200_loses_no_byte() {
    for length in [1, 100, 8 * 1024, 16 * 1024] {
        let greeting = Pattern::new(9).take(length);
        let origin = Origin::start(OriginKind::SpeaksFirst(greeting.clone())).await;
        let first = Proxy::http().basic(CORPORATE.0, CORPORATE.1).start().await;
        let second = Proxy::http()
            .basic(ROTATING.0, ROTATING.1)
            .behaviour(Behaviour::Coalesce)
            .start()
            .await;
        let members = [member("early", "http", second.address(), Some(ROTATING))];
        let corporate = corporate("http", first.address(), Some(CORPORATE), &[]);
        let pcs = Pcs::start(&config(Some(&corporate), &members, "")).await;
        let (mut stream, head) = connect(pcs.address(), &origin.address().to_string()).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let mut read = vec![0; length];
        stream.read_exact(&mut read).await.unwrap();
        assert!(read == greeting, "{length} bytes differ");
        stream.write_all(b"and on").await.unwrap();
        let mut read = [0; 6];
        stream.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"and on");
    }
}

#[tokio::test]
async fn bytes_that_come_with_the_request_head_are_delivered() {
    let first = need!(Squid::new().basic(CORPORATE.0, CORPORATE.1).start());
    let second = need!(Tinyproxy::new().basic(ROTATING.0, ROTATING.1).start());
    let origin = Origin::start(OriginKind::Echo).await;
    let members = [member("tiny-1", "http", second.address(), Some(ROTATING))];
    let pcs = Pcs::start(&config(Some(&squid(&first)), &members, "")).await;
    let mut stream = dial(pcs.address()).await;
    let target = origin.address();
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\nimpatient");
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut echoed = [0; 9];
    stream.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"impatient");
}

#[tokio::test]
async fn a_client_that_has_half_closed_still_gets_its_answer() {
    // Squid and tinyproxy end both directions at once, so the hops are ours.
    let first = Proxy::http().basic(CORPORATE.0, CORPORATE.1).start().await;
    let second = Proxy::socks5().basic(ROTATING.0, ROTATING.1).start().await;
    let origin = Origin::start(OriginKind::Echo).await;
    let corporate = corporate("http", first.address(), Some(CORPORATE), &[]);
    let members = [member("rota-1", "socks5", second.address(), Some(ROTATING))];
    let pcs = Pcs::start(&config(Some(&corporate), &members, "")).await;
    let (mut stream, head) = connect(pcs.address(), &origin.address().to_string()).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    stream.write_all(b"the last word").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut echoed = String::new();
    stream.read_to_string(&mut echoed).await.unwrap();
    assert_eq!(echoed, "the last word");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_hundred_tunnels_are_open_at_once() {
    const TUNNELS: usize = 600;
    let first = need!(Squid::new().basic(CORPORATE.0, CORPORATE.1).start());
    let second = need!(Tinyproxy::new().basic(ROTATING.0, ROTATING.1).start());
    let origin = Origin::start(OriginKind::Echo).await;
    let members = [member("tiny-1", "http", second.address(), Some(ROTATING))];
    let slow = "server: {port: 0, timeout_seconds: 60}";
    let config = config(Some(&squid(&first)), &members, "");
    let config = config.replace(
        "server: {port: 0, timeout_seconds: 10, shutdown_grace_seconds: 10}",
        slow,
    );
    let config = config.replace("_timeout_seconds: 10", "_timeout_seconds: 30");
    let pcs = Pcs::start(&config).await;
    let mut opening = JoinSet::new();
    for n in 0..TUNNELS {
        let (proxy, target) = (pcs.address(), origin.address().to_string());
        opening.spawn(async move {
            let (stream, head) = connect(proxy, &target).await;
            assert!(head.starts_with("HTTP/1.1 200"), "tunnel {n}: {head}");
            (n, stream)
        });
    }
    let mut tunnels = opening.join_all().await;
    // The last 200 may be here before the target has counted whom it accepted.
    until("all at the target", || origin.active() == TUNNELS).await;
    for (n, stream) in &mut tunnels {
        let message = format!("tunnel {n:04}");
        stream.write_all(message.as_bytes()).await.unwrap();
        let mut echoed = [0; 11];
        stream.read_exact(&mut echoed).await.unwrap();
        assert_eq!(echoed, message.as_bytes());
    }
    drop(tunnels);
    let accesses = pcs.accesses(TUNNELS).await;
    assert!(
        accesses
            .iter()
            .all(|access| access["bytes_up"] == 11 && access["bytes_down"] == 11)
    );
    until("closed behind closed clients", || origin.active() == 0).await;
}
