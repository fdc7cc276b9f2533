//! What HTTP and SOCKS proxies do alike: spoil an answer, open a tunnel, relay.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

use super::{Client, hang};
use crate::Behaviour;

/// Goes wrong after the request was read. True when the connection is done with.
pub(super) async fn spoil(client: &mut Client, behaviour: &Behaviour) -> io::Result<bool> {
    match behaviour {
        Behaviour::HangAtRequest => hang(client).await,
        Behaviour::CloseAtRequest | Behaviour::ResetAtRequest => {}
        Behaviour::Garbage => {
            client
                .write_all(b"\x00\xff\x13 220 this is no proxy\r\n\x16\x03\x01\r\n\r\n")
                .await?;
            client.shutdown().await?;
        }
        Behaviour::HugeHead => {
            client
                .write_all(b"HTTP/1.1 200 Connection established\r\n")
                .await?;
            let field = format!("X-Fill: {}\r\n", "x".repeat(1014));
            for _ in 0..4096 {
                client.write_all(field.as_bytes()).await?;
            }
        }
        Behaviour::Slow(delay) => {
            tokio::time::sleep(*delay).await;
            return Ok(false);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Writes an answer, byte by byte if that is how it behaves.
pub(super) async fn answer(client: &mut Client, bytes: &[u8], behaviour: &Behaviour) -> io::Result<()> {
    if let Behaviour::Dribble(pause) = behaviour {
        for byte in bytes {
            client.write_all(&[*byte]).await?;
            client.flush().await?;
            tokio::time::sleep(*pause).await;
        }
        return Ok(());
    }
    client.write_all(bytes).await?;
    client.flush().await
}

/// Claims success with these bytes, then relays, as the behaviour has it.
pub(super) async fn open(
    mut client: Client,
    mut target: TcpStream,
    success: Vec<u8>,
    behaviour: &Behaviour,
) -> io::Result<()> {
    match behaviour {
        Behaviour::SuccessThenReset => {
            answer(&mut client, &success, behaviour).await?;
            // The answer has to be on its way before the reset throws away what is not.
            tokio::time::sleep(Duration::from_millis(20)).await;
            return Ok(());
        }
        Behaviour::SuccessThenClose => {
            answer(&mut client, &success, behaviour).await?;
            return client.shutdown().await;
        }
        Behaviour::Surplus(bytes) => {
            let mut joined = success;
            joined.extend_from_slice(bytes);
            answer(&mut client, &joined, behaviour).await?;
        }
        Behaviour::Coalesce => {
            let mut joined = success;
            let mut first = vec![0; 16 * 1024];
            let read = target.read(&mut first).await?;
            joined.extend_from_slice(first.get(..read).unwrap_or_default());
            answer(&mut client, &joined, behaviour).await?;
        }
        Behaviour::CutAfter(bytes) => {
            answer(&mut client, &success, behaviour).await?;
            return cut_after(client, target, *bytes).await;
        }
        _ => answer(&mut client, &success, behaviour).await?,
    }
    copy_bidirectional(&mut client, &mut target).await?;
    Ok(())
}

/// Relays until the target has sent this many bytes, then drops both sides.
async fn cut_after(client: Client, target: TcpStream, bytes: u64) -> io::Result<()> {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (from_target, mut to_target) = target.into_split();
    let mut from_target = from_target.take(bytes);
    let down = async {
        let copied = tokio::io::copy(&mut from_target, &mut to_client).await;
        to_client.flush().await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        copied
    };
    let up = async {
        let copied = tokio::io::copy(&mut from_client, &mut to_target).await;
        to_target.shutdown().await?;
        copied?;
        // A client that only half-closed still gets its bytes before the cut.
        std::future::pending::<io::Result<u64>>().await
    };
    tokio::select! {
        done = down => done.map(|_| ()),
        done = up => done.map(|_| ()),
    }
}
