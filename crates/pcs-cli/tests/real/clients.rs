//! Clients: programs, and a bare socket.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use pcs_testkit::within;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What a program said, and whether it was content.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) ok: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a program to its end without the proxy settings of the machine, beside the runtime.
pub(crate) async fn run(mut command: Command) -> Said {
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command.stdin(std::process::Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    Said {
        ok: output.status.success(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// curl, silent but for errors, for at most 30 s.
pub(crate) async fn curl(arguments: &[&str]) -> Said {
    let mut command = Command::new("curl");
    command.args(["-sS", "-m", "30"]).args(arguments);
    run(command).await
}

/// curl, whose output alone counts: panics with what it said when it fails.
pub(crate) async fn curl_text(arguments: &[&str]) -> String {
    let said = curl(arguments).await;
    assert!(said.ok, "curl {arguments:?}: {said:?}");
    said.out
}

/// Opens a connection.
pub(crate) async fn dial(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Waits until nobody listens there.
pub(crate) async fn refuses(address: SocketAddr) {
    let refused = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within("refused", refused).await;
}

/// Reads a head up to its empty line, in at most 30 s.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    let head = tokio::time::timeout(Duration::from_secs(30), patient_head(stream));
    head.await.expect("a head in 30 s")
}

/// Reads a head up to its empty line, byte by byte so that nothing behind it is touched, or what there is of it.
pub(crate) async fn patient_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Asks for a tunnel; the stream, and the head of the answer.
pub(crate) async fn connect(proxy: SocketAddr, target: &str) -> (TcpStream, String) {
    let mut stream = dial(proxy).await;
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    (stream, head)
}

/// Sends one request and returns all that comes back until the proxy has no more to say.
pub(crate) async fn ask(proxy: SocketAddr, request: &str) -> Answer {
    let mut stream = dial(proxy).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    Answer::read(&mut stream).await
}

/// Asks for a tunnel over SOCKS5, by address where `target` is one: the reply.
pub(crate) async fn socks(proxy: SocketAddr, target: &str) -> u8 {
    let (host, port) = target.rsplit_once(':').unwrap();
    let mut request = match host.parse::<std::net::Ipv4Addr>() {
        Ok(ip) => [&[5, 1, 0, 5, 1, 0, 1][..], &ip.octets()].concat(),
        Err(_) => {
            let length = u8::try_from(host.len()).unwrap();
            [&[5, 1, 0, 5, 1, 0, 3, length][..], host.as_bytes()].concat()
        }
    };
    request.extend(port.parse::<u16>().unwrap().to_be_bytes());
    let mut stream = dial(proxy).await;
    stream.write_all(&request).await.unwrap();
    let mut reply = [0; 4];
    tokio::time::timeout(Duration::from_secs(30), stream.read_exact(&mut reply))
        .await
        .expect("a reply in 30 s")
        .unwrap();
    reply[3]
}

/// An answer of PCS itself.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// Reads one that says how long it is.
    pub(crate) async fn read(stream: &mut TcpStream) -> Self {
        let head = read_head(stream).await;
        let length = field(&head, "content-length")
            .and_then(|value| value.parse::<u64>().ok())
            .unwrap_or(0);
        // An answer may break off where its proxy did: what came is what was said.
        let mut body = Vec::new();
        let _ = stream.take(length).read_to_end(&mut body).await;
        Self {
            body: String::from_utf8_lossy(&body).into_owned(),
            head,
        }
    }

    /// Its status.
    pub(crate) fn status(&self) -> u16 {
        self.head
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .unwrap_or_default()
    }

    /// A field of its head.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    /// A member of its problem+json body, as text.
    pub(crate) fn problem(&self, name: &str) -> String {
        assert_eq!(
            self.field("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        match &body[name] {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

/// A field of a head, whatever its case.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields
        .find(|(given, _)| given.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}
