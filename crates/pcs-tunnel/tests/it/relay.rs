//! The relay over real sockets.

use std::sync::Arc;
use std::time::Duration;

use pcs_tunnel::{EndedBy, Relay, RelayReport, TunnelRegistry, relay};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::pattern;

const MIB: usize = 1 << 20;

/// Two ends of one TCP connection.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialled = crate::dial(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(dialled, listener.accept());
    (near, far.unwrap().0)
}

/// A client and an upstream with a relay between them that nobody polls yet.
async fn tunnel(registry: &Arc<TunnelRegistry>) -> (TcpStream, TcpStream, Relay) {
    let (client, near) = pair().await;
    let (far, upstream) = pair().await;
    (client, upstream, Relay::new(near, far).registered(registry))
}

fn registry() -> Arc<TunnelRegistry> {
    TunnelRegistry::new(Duration::from_secs(300))
}

async fn say(to: &mut (impl AsyncWrite + Unpin), salt: u64, count: usize) {
    for chunk in pattern::chunks(salt, count) {
        to.write_all(&chunk).await.unwrap();
    }
    to.shutdown().await.unwrap();
}

async fn hear(from: &mut (impl AsyncRead + Unpin), salt: u64, count: usize) {
    let mut buffer = vec![0; 64 * 1024];
    for chunk in pattern::chunks(salt, count) {
        let buffer = &mut buffer[..chunk.len()];
        from.read_exact(buffer).await.unwrap();
        assert!(buffer == chunk, "every byte in its place");
    }
    assert_eq!(from.read(&mut buffer).await.unwrap(), 0, "and then the end");
}

fn check(report: &RelayReport, up: usize, down: usize) {
    assert_eq!((report.up, report.down), (up as u64, down as u64), "{report:?}");
    assert!(report.error.is_none(), "{report:?}");
}

#[tokio::test]
async fn sixty_four_mebibytes_each_way_at_once() {
    let registry = registry();
    let (client, upstream, relay) = tunnel(&registry).await;
    let (mut client_in, mut client_out) = client.into_split();
    let (mut upstream_in, mut upstream_out) = upstream.into_split();
    let (report, ..) = tokio::join!(
        relay,
        say(&mut client_out, 1, 64 * MIB),
        hear(&mut upstream_in, 1, 64 * MIB),
        say(&mut upstream_out, 2, 64 * MIB),
        hear(&mut client_in, 2, 64 * MIB),
    );
    check(&report, 64 * MIB, 64 * MIB);
    assert_eq!(registry.spliced_bytes(), report.spliced);
    assert_eq!(
        registry.splice_engagements() > 0,
        cfg!(target_os = "linux"),
        "bulk goes over to splicing"
    );
    assert_eq!(registry.open(), 0);
}

#[tokio::test]
async fn one_side_closes_and_the_other_goes_on_for_long() {
    let registry = registry();
    let (mut client, mut upstream, relay) = tunnel(&registry).await;
    let work = async {
        say(&mut client, 1, 10).await;
        hear(&mut upstream, 1, 10).await;
        tokio::join!(say(&mut upstream, 2, 16 * MIB), hear(&mut client, 2, 16 * MIB));
    };
    let (report, ()) = tokio::join!(relay, work);
    check(&report, 10, 16 * MIB);
    assert_eq!(report.ended_by, EndedBy::ClientClosed);
}

#[tokio::test]
async fn a_reader_that_stops_and_starts_gets_every_byte() {
    let (mut client, near) = pair().await;
    let (far, mut upstream) = pair().await;
    let slow = async {
        let mut buffer = vec![0; 32 * 1024];
        for (turn, chunk) in pattern::chunks(3, 24 * MIB).enumerate() {
            if turn % 64 == 0 {
                // Long enough for every buffer on the way to fill up.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            client.read_exact(&mut buffer[..chunk.len()]).await.unwrap();
            assert!(buffer[..chunk.len()] == chunk);
        }
        client.shutdown().await.unwrap();
    };
    let (report, ..) = tokio::join!(relay(near, far), say(&mut upstream, 3, 24 * MIB), slow);
    check(&report, 0, 24 * MIB);
    assert_eq!(report.ended_by, EndedBy::UpstreamClosed);
}

#[tokio::test]
async fn small_talk_after_bulk_is_delivered_at_once() {
    let (mut client, near) = pair().await;
    let (far, mut upstream) = pair().await;
    let work = async {
        for _ in 0..3 {
            let bulk = vec![5; 4 * MIB];
            let mut heard = vec![0; 4 * MIB];
            let (said, read) = tokio::join!(upstream.write_all(&bulk), client.read_exact(&mut heard));
            said.unwrap();
            assert_eq!(read.unwrap(), bulk.len());
            for turn in 0..50_u8 {
                upstream.write_all(&[turn]).await.unwrap();
                assert_eq!(client.read_u8().await.unwrap(), turn);
                client.write_all(&[turn]).await.unwrap();
                assert_eq!(upstream.read_u8().await.unwrap(), turn);
            }
        }
        drop(client);
        drop(upstream);
    };
    let (report, ()) = tokio::join!(relay(near, far), work);
    check(&report, 150, 3 * 4 * MIB + 150);
}

#[tokio::test]
async fn a_reset_in_the_middle_is_told_and_what_came_before_is_counted() {
    let registry = registry();
    let (mut client, mut upstream, relay) = tunnel(&registry).await;
    let work = async {
        client.write_all(b"request").await.unwrap();
        upstream.read_exact(&mut [0; 7]).await.unwrap();
        upstream.write_all(&[1; 1000]).await.unwrap();
        client.read_exact(&mut [0; 1000]).await.unwrap();
        upstream.set_zero_linger().unwrap();
        drop(upstream);
        assert_eq!(
            client.read(&mut [0]).await.unwrap_or(0),
            0,
            "the client does not wait for ever"
        );
    };
    let (report, ()) = tokio::join!(relay, work);
    assert_eq!(
        (report.up, report.down, report.ended_by),
        (7, 1000, EndedBy::UpstreamError)
    );
    assert_eq!(report.error.unwrap().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_client_that_vanishes_amid_a_download_frees_the_upstream() {
    let registry = registry();
    let (client, mut upstream, relay) = tunnel(&registry).await;
    let feed = async {
        let chunk = vec![0; MIB];
        while upstream.write_all(&chunk).await.is_ok() {}
    };
    let leave = async {
        let mut client = client;
        client.read_exact(&mut vec![0; 3 * MIB]).await.unwrap();
        client.set_zero_linger().unwrap();
    };
    let (report, ..) = tokio::join!(relay, feed, leave);
    assert_eq!(report.ended_by, EndedBy::ClientError);
    assert!(report.down >= 3 * MIB as u64);
}
