//! A corporate proxy that really dials: one thread a direction, Basic credentials, any target on loopback.
//!
//! For the soak, whose rotating hops die one by one behind it. Slow and simple on purpose.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::Result;

use super::hop::CREDENTIALS;
use super::option;

/// Serves until its standard input ends; prints its port, which is `--port PORT` or a free one.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let port = option(arguments, "--port").unwrap_or("0").parse()?;
    let listener = TcpListener::bind(super::socket::loopback(port))?;
    println!("{}", listener.local_addr()?.port());
    io::stdout().flush()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    // The parent holds the other end: when it is gone, so are we.
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

/// Carries one connection; whatever breaks ends it.
fn serve(mut client: TcpStream) -> Option<()> {
    client.set_nodelay(true).ok()?;
    client.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let mut head = read_head(&mut client)?;
    while !head.contains(CREDENTIALS) {
        client
            .write_all(
                b"HTTP/1.1 407 Proxy Authentication Required\r\n\
                  Proxy-Authenticate: Basic realm=\"corporate\"\r\nContent-Length: 0\r\n\r\n",
            )
            .ok()?;
        head = read_head(&mut client)?;
    }
    let authority = head.strip_prefix("CONNECT ")?.split(' ').next()?;
    let Ok(target) = TcpStream::connect(authority) else {
        client
            .write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            .ok()?;
        return None;
    };
    target.set_nodelay(true).ok()?;
    client.set_read_timeout(None).ok()?;
    client
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .ok()?;
    let (upward, target_up) = (client.try_clone().ok()?, target.try_clone().ok()?);
    let up = std::thread::spawn(move || carry(upward, target_up));
    carry(target, client);
    up.join().ok()
}

/// Byte by byte, so that nothing behind the head is taken.
fn read_head(client: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > 16 * 1024 || client.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let whole = io::copy(&mut from, &mut to).is_ok();
    // A broken side breaks the other too; an ended one only ends it.
    let _ = to.shutdown(if whole { Shutdown::Write } else { Shutdown::Both });
    if !whole {
        let _ = from.shutdown(Shutdown::Both);
    }
}
