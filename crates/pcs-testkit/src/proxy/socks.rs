//! The SOCKS4(a) and SOCKS5 proxies.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

use super::tunnel::{answer, open, spoil};
use super::{Client, Shared};
use crate::Behaviour;

/// Serves one SOCKS5 client (RFC 1928, RFC 1929).
pub(super) async fn serve5(mut client: Client, shared: Arc<Shared>) -> io::Result<()> {
    let [version, methods] = array(&mut client).await?;
    let offered = vector(&mut client, methods.into()).await?;
    let behaviour = shared.behaviour();
    if version != 5 || spoil(&mut client, &behaviour).await? {
        return Ok(());
    }
    let wanted = if shared.config.basic.is_some() { 2 } else { 0 };
    if !offered.contains(&wanted) {
        answer(&mut client, &[5, 0xff], &behaviour).await?;
        return client.shutdown().await;
    }
    answer(&mut client, &[5, wanted], &behaviour).await?;
    if let Some((user, password)) = &shared.config.basic {
        let [_, length] = array(&mut client).await?;
        let given_user = vector(&mut client, length.into()).await?;
        let [length] = array(&mut client).await?;
        let given_password = vector(&mut client, length.into()).await?;
        let right = given_user == user.as_bytes() && given_password == password.as_bytes();
        answer(&mut client, &[1, u8::from(!right)], &behaviour).await?;
        if !right {
            return client.shutdown().await;
        }
    }
    let [_, _, _, kind] = array(&mut client).await?;
    let host = match kind {
        1 => Ipv4Addr::from(array::<4>(&mut client).await?).to_string(),
        4 => format!("[{}]", Ipv6Addr::from(array::<16>(&mut client).await?)),
        _ => {
            let [length] = array(&mut client).await?;
            String::from_utf8_lossy(&vector(&mut client, length.into()).await?).into_owned()
        }
    };
    let target = format!("{host}:{}", u16::from_be_bytes(array(&mut client).await?));
    shared.asked_for(&target);
    let reply = |code: u8| vec![5, code, 0, 1, 0, 0, 0, 0, 0, 0];
    if let Some(code) = refusal(&behaviour, &target) {
        answer(&mut client, &reply(code), &behaviour).await?;
        return client.shutdown().await;
    }
    match shared.dial(&target).await {
        Ok(stream) => open(client, stream, reply(0), &behaviour).await,
        Err(error) => {
            let code = match error.kind() {
                io::ErrorKind::ConnectionRefused => 5,
                io::ErrorKind::TimedOut => 6,
                _ => 4,
            };
            answer(&mut client, &reply(code), &behaviour).await?;
            client.shutdown().await
        }
    }
}

/// Serves one SOCKS4 or SOCKS4a client.
pub(super) async fn serve4(mut client: Client, shared: Arc<Shared>) -> io::Result<()> {
    let [version, _command] = array(&mut client).await?;
    let port = u16::from_be_bytes(array(&mut client).await?);
    let address = Ipv4Addr::from(array::<4>(&mut client).await?);
    let user = terminated(&mut client).await?;
    let octets = address.octets();
    let named = matches!(octets, [0, 0, 0, last] if last != 0);
    let host = if named {
        String::from_utf8_lossy(&terminated(&mut client).await?).into_owned()
    } else {
        address.to_string()
    };
    let behaviour = shared.behaviour();
    if version != 4 || spoil(&mut client, &behaviour).await? {
        return Ok(());
    }
    let reply = |code: u8| vec![0, code, 0, 0, 0, 0, 0, 0];
    let right = shared
        .config
        .basic
        .as_ref()
        .is_none_or(|(name, _)| user == name.as_bytes());
    if !right {
        answer(&mut client, &reply(93), &behaviour).await?;
        return client.shutdown().await;
    }
    let target = format!("{host}:{port}");
    shared.asked_for(&target);
    let refused = refusal(&behaviour, &target).is_some();
    match shared.dial(&target).await {
        Ok(stream) if !refused => open(client, stream, reply(90), &behaviour).await,
        _ => {
            answer(&mut client, &reply(91), &behaviour).await?;
            client.shutdown().await
        }
    }
}

fn refusal(behaviour: &Behaviour, target: &str) -> Option<u8> {
    match behaviour {
        Behaviour::Reply(code) => Some(*code),
        other => other.status_for(target).map(|_| 1),
    }
}

async fn array<const N: usize>(client: &mut Client) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    client.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn vector(client: &mut Client, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    client.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Bytes up to a zero, at most 512.
async fn terminated(client: &mut Client) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    client.take(512).read_until(0, &mut bytes).await?;
    if bytes.pop() != Some(0) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(bytes)
}
