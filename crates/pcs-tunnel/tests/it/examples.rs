//! The examples, run against servers of this process.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use pcs_tunnel::relay;

#[expect(dead_code, reason = "`main` runs when the example is started by itself")]
#[path = "../../examples/hyper_client.rs"]
mod hyper_client;
#[expect(dead_code, reason = "`main` runs when the example is started by itself")]
#[path = "../../examples/plain_tcp.rs"]
mod plain_tcp;
#[expect(dead_code, reason = "`main` runs when the example is started by itself")]
#[path = "../../examples/websocket.rs"]
mod websocket;

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Serves one CONNECT with the credentials of `user:secret`, asking for them where they are missing.
async fn proxy(listener: TcpListener) {
    loop {
        let mut client = listener.accept().await.unwrap().0;
        while let Some(head) = head(&mut client).await {
            if !head.contains("Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n") {
                let ask = b"HTTP/1.1 407 Who Are You\r\nProxy-Authenticate: Basic realm=\"t\"\r\nContent-Length: 0\r\n\r\n";
                client.write_all(ask).await.unwrap();
                continue;
            }
            let target = head.split(' ').nth(1).unwrap();
            let upstream = crate::dial(target.parse().unwrap()).await;
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            relay(client, upstream).await;
            return;
        }
    }
}

/// A request's head, unless the connection ends before it.
async fn head(client: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// Starts two proxies; gives the command line that leads through both.
async fn arguments(tasks: &mut JoinSet<()>, target: SocketAddr) -> Vec<String> {
    let mut arguments = Vec::new();
    for _ in 0..2 {
        let (listener, address) = listener().await;
        tasks.spawn(proxy(listener));
        arguments.push(format!("http://user:secret@{address}"));
    }
    arguments.push(target.to_string());
    arguments
}

async fn finish(mut tasks: JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn plain_tcp_gets_its_answer() {
    let (server, address) = listener().await;
    let mut tasks = JoinSet::new();
    let arguments = arguments(&mut tasks, address).await;
    tasks.spawn(async move {
        let mut peer: TcpStream = server.accept().await.unwrap().0;
        let mut line = String::new();
        peer.read_to_string(&mut line).await.unwrap();
        peer.write_all(line.to_uppercase().as_bytes()).await.unwrap();
    });
    assert_eq!(
        plain_tcp::run(&arguments).await.unwrap(),
        "HELLO THROUGH THE CHAIN\r\n"
    );
    finish(tasks).await;
}

#[tokio::test]
async fn hyper_gets_its_page() {
    let (server, address) = listener().await;
    let mut tasks = JoinSet::new();
    let arguments = arguments(&mut tasks, address).await;
    tasks.spawn(async move {
        let mut peer = server.accept().await.unwrap().0;
        let head = head(&mut peer).await.unwrap();
        assert!(head.starts_with("GET / HTTP/1.1\r\n"), "{head}");
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nworld";
        peer.write_all(answer).await.unwrap();
    });
    assert_eq!(hyper_client::run(&arguments).await.unwrap(), "200 OK\nworld");
    finish(tasks).await;
}

#[tokio::test]
async fn a_websocket_gets_its_echo() {
    let (server, address) = listener().await;
    let mut tasks = JoinSet::new();
    let arguments = arguments(&mut tasks, address).await;
    tasks.spawn(async move {
        let peer = server.accept().await.unwrap().0;
        let mut socket = tokio_tungstenite::accept_async(peer).await.unwrap();
        let message = socket.next().await.unwrap().unwrap();
        socket.send(message).await.unwrap();
        while socket.next().await.is_some_and(|message| message.is_ok()) {}
    });
    assert_eq!(
        websocket::run(&arguments).await.unwrap(),
        "hello through the chain\n"
    );
    finish(tasks).await;
}
