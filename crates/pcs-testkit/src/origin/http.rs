//! The HTTP target.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::{Client, Shared, websocket};
use crate::head::{copy_body, read_head};
use crate::{Digest, Head, Pattern};

/// The largest body that `/echo` keeps, bytes.
const MAX_ECHO: usize = 16 << 20;

/// Serves requests until the client closes or asked for it.
pub(super) async fn serve(mut client: Client, peer: SocketAddr, shared: &Shared) -> io::Result<()> {
    while let Some(head) = read_head(&mut client).await? {
        shared.saw(&head);
        let keeps = head.keeps_alive();
        if head.has_token("upgrade", "websocket") {
            return websocket::serve(client, &head).await;
        }
        if head.has_token("expect", "100-continue") {
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            client.flush().await?;
        }
        if !respond(&mut client, &head, peer, shared).await? || !keeps {
            break;
        }
    }
    client.shutdown().await
}

/// Answers one request. Says whether the connection may go on.
async fn respond(client: &mut Client, head: &Head, peer: SocketAddr, shared: &Shared) -> io::Result<bool> {
    let target = head.word(1);
    let path = target.split('?').next().unwrap_or_default();
    let path = path.trim_start_matches('/');
    let (route, argument) = path.split_once('/').unwrap_or((path, ""));
    let mut body = Vec::new();
    let mut digest = Digest::default();
    let mut keep = |bytes: &[u8]| {
        digest.add(bytes);
        if route == "echo" && body.len() + bytes.len() <= MAX_ECHO {
            body.extend_from_slice(bytes);
        }
    };
    copy_body(client, &mut tokio::io::sink(), head.request_body(), &mut keep).await?;
    match route {
        "ip" => text(client, head, "", format!("{}\n", peer.ip()).as_bytes()).await?,
        "head" => text(client, head, "", head.text().as_bytes()).await?,
        "echo" => text(client, head, &format!("X-Method: {}\r\n", head.word(0)), &body).await?,
        "sink" => {
            shared.read(digest);
            text(client, head, "", format!("{digest}\n").as_bytes()).await?;
        }
        "bytes" => bytes(client, head, argument.parse().unwrap_or_default()).await?,
        "chunked" => chunked(client, head).await?,
        "until-close" => {
            client
                .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end\n")
                .await?;
            return Ok(false);
        }
        "status" => status(client, argument).await?,
        "slow" => {
            tokio::time::sleep(Duration::from_millis(argument.parse().unwrap_or_default())).await;
            text(client, head, "", b"slow\n").await?;
        }
        "early" => {
            client
                .write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
                .await?;
            client.flush().await?;
            text(client, head, "", b"late\n").await?;
        }
        "hang" => std::future::pending().await,
        "cut" => {
            client
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this")
                .await?;
            return Ok(false);
        }
        "reset" => return Ok(false),
        _ => text(client, head, "", b"hello\n").await?,
    }
    client.flush().await?;
    Ok(true)
}

async fn text(client: &mut Client, head: &Head, fields: &str, body: &[u8]) -> io::Result<()> {
    let length = body.len();
    let answer =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{fields}Content-Length: {length}\r\n\r\n");
    let mut message = answer.into_bytes();
    if head.word(0) != "HEAD" {
        message.extend_from_slice(body);
    }
    client.write_all(&message).await
}

async fn bytes(client: &mut Client, head: &Head, length: u64) -> io::Result<()> {
    client
        .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes())
        .await?;
    if head.word(0) == "HEAD" {
        return Ok(());
    }
    let mut pattern = Pattern::new(1);
    let mut left = length;
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(64 * 1024);
        client.write_all(&pattern.take(now)).await?;
        left -= now as u64;
    }
    Ok(())
}

async fn chunked(client: &mut Client, head: &Head) -> io::Result<()> {
    client
        .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Trailer\r\n\r\n")
        .await?;
    if head.word(0) == "HEAD" {
        return Ok(());
    }
    for piece in [
        "4;name=value\r\none \r\n",
        "4\r\ntwo \r\n",
        "6\r\nthree\n\r\n",
        "0\r\nX-Trailer: yes\r\n\r\n",
    ] {
        client.write_all(piece.as_bytes()).await?;
        client.flush().await?;
    }
    Ok(())
}

async fn status(client: &mut Client, argument: &str) -> io::Result<()> {
    let code: u16 = argument.parse().unwrap_or(200);
    let bodiless = code < 200 || code == 204 || code == 304;
    let message = if bodiless {
        format!("HTTP/1.1 {code} Told To\r\n\r\n")
    } else {
        format!("HTTP/1.1 {code} Told To\r\nContent-Length: 7\r\n\r\nstatus\n")
    };
    client.write_all(message.as_bytes()).await
}
