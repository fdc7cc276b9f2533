use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use pcs_models::Target;
use tokio::io::{AsyncReadExt as _, DuplexStream};

use super::*;
use crate::Io;
use crate::wire::{HttpConnect, Login};

const ASKED: &[u8] = b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n";

fn target() -> Target {
    "example.com:443".parse().unwrap()
}

/// A stream to us, and the hop's end of it.
fn pair() -> (ChainStream, DuplexStream) {
    let (ours, hop) = tokio::io::duplex(64 * 1024);
    (ChainStream::new(Io::Other(Box::new(ours))), hop)
}

fn patience(answer: u64, whole: u64) -> Patience {
    let seconds = Duration::from_secs;
    Patience {
        asked: Instant::now(),
        answer: seconds(answer),
        deadline: Instant::now() + seconds(whole),
    }
}

async fn connect(stream: &mut ChainStream, patience: Patience) -> Result<(), DriveError> {
    let place = target();
    let mut talk = HttpConnect::new(&place, Login::NONE);
    drive(stream, &mut talk, &mut Buffers::default(), patience).await
}

/// Reads the request, then writes `bytes`, one every `every`.
async fn dribble(mut hop: DuplexStream, bytes: &[u8], every: Duration) -> DuplexStream {
    let mut asked = [0; ASKED.len()];
    hop.read_exact(&mut asked).await.unwrap();
    assert_eq!(asked, ASKED);
    for byte in bytes {
        tokio::time::sleep(every).await;
        if hop.write_all(&[*byte]).await.is_err() {
            break;
        }
    }
    hop
}

#[tokio::test(start_paused = true)]
async fn what_comes_behind_the_answer_is_read_first() {
    let (mut stream, hop) = pair();
    let answer = b"HTTP/1.1 200 OK\r\n\r\nSSH-2.0-first";
    let (result, _hop) = tokio::join!(connect(&mut stream, patience(5, 30)), async {
        let mut hop = dribble(hop, b"", Duration::ZERO).await;
        hop.write_all(answer).await.unwrap();
        hop.write_all(b" words").await.unwrap();
        hop
    });
    assert!(result.is_ok(), "{result:?}");
    let mut words = [0; 19];
    stream.read_exact(&mut words).await.unwrap();
    assert_eq!(&words, b"SSH-2.0-first words");
}

#[tokio::test(start_paused = true)]
async fn a_hop_that_dribbles_wins_no_time() {
    let (mut stream, hop) = pair();
    let begun = Instant::now();
    let answer = b"HTTP/1.1 200 Connection established\r\n\r\n";
    let (result, _hop) = tokio::join!(connect(&mut stream, patience(5, 30)), async {
        dribble(hop, answer, Duration::from_secs(1)).await
    });
    assert!(matches!(result, Err(DriveError::Late)), "{result:?}");
    // The hop goes on by itself until it is done; we had given up long before.
    assert_eq!(begun.elapsed(), Duration::from_secs(answer.len() as u64));
}

#[tokio::test(start_paused = true)]
async fn a_silent_hop_is_given_up_after_the_answer_s_time() {
    let (mut stream, _hop) = pair();
    let begun = Instant::now();
    assert!(matches!(
        connect(&mut stream, patience(5, 30)).await,
        Err(DriveError::Late)
    ));
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_bounds_the_answer_s_time() {
    let (mut stream, _hop) = pair();
    let begun = Instant::now();
    assert!(matches!(
        connect(&mut stream, patience(5, 2)).await,
        Err(DriveError::Late)
    ));
    assert_eq!(begun.elapsed(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_hop_that_reads_nothing_is_given_up() {
    let (ours, _hop) = tokio::io::duplex(8);
    let mut stream = ChainStream::new(Io::Other(Box::new(ours)));
    let begun = Instant::now();
    assert!(matches!(
        connect(&mut stream, patience(5, 30)).await,
        Err(DriveError::Late)
    ));
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn each_leg_has_its_own_time() {
    let (mut stream, mut hop) = pair();
    let place = target();
    let value = pcs_models::Secret::new("Basic eA==".to_owned());
    let login = Login {
        may_switch: true,
        basic: Some(&value),
        known: true,
        ..Login::NONE
    };
    let mut talk = HttpConnect::new(&place, login);
    let mut buffers = Buffers::default();
    let (result, _hop) = tokio::join!(
        drive(&mut stream, &mut talk, &mut buffers, patience(5, 30)),
        async {
            let mut asked = vec![0; 1024];
            for answer in [
                "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
                "HTTP/1.1 200 OK\r\n\r\n",
            ] {
                assert!(hop.read(&mut asked).await.unwrap() > 0);
                tokio::time::sleep(Duration::from_secs(4)).await;
                hop.write_all(answer.as_bytes()).await.unwrap();
            }
            hop
        }
    );
    assert!(result.is_ok(), "4 s a leg are within 5 s: {result:?}");
}

#[tokio::test]
async fn an_end_where_an_answer_is_due_is_told() {
    for said in ["", "HTTP/1.1 200"] {
        let (mut stream, hop) = pair();
        let (result, ()) = tokio::join!(connect(&mut stream, patience(5, 30)), async {
            drop(dribble(hop, said.as_bytes(), Duration::ZERO).await);
        });
        assert!(matches!(result, Err(DriveError::Ended)), "{result:?}");
    }
}

#[tokio::test]
async fn one_message_is_one_write_and_one_answer_one_read() {
    let mut builder = tokio_test::io::Builder::new();
    let mock = builder.write(ASKED).read(b"HTTP/1.1 200 OK\r\n\r\nearly").build();
    let mut stream = ChainStream::new(Io::Other(Box::new(mock)));
    connect(&mut stream, patience(5, 30)).await.unwrap();
    assert_eq!(stream.early(), b"early");
}

#[tokio::test]
async fn a_drive_that_is_dropped_closes_nothing_but_its_stream() {
    let (mut stream, mut hop) = pair();
    {
        let mut work = pin!(connect(&mut stream, patience(5, 30)));
        poll_fn(|cx| {
            assert!(work.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    }
    drop(stream);
    let mut asked = Vec::new();
    hop.read_to_end(&mut asked).await.unwrap();
    assert_eq!(asked, ASKED);
}
