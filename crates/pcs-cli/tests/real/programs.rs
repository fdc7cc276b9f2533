//! What people point at a proxy: Python requests, Node, git, a WebSocket client.

use std::path::Path;
use std::process::Command;

use pcs_testkit::real::{FileServer, Peer, Squid, Tinyproxy, Unavailable, find, python};
use pcs_testkit::{Origin, OriginKind, TestCa, need};
use tempfile::TempDir;

use crate::clients::run;
use crate::pcs::{CORPORATE, Pcs, ROTATING, config, member, squid};

/// The usual chain: Squid with a password, then tinyproxy with another, leaving from this address.
async fn chain(exit: &str) -> Result<(Peer, Peer, Pcs), Unavailable> {
    let first = Squid::new().basic(CORPORATE.0, CORPORATE.1).start()?;
    let second = Tinyproxy::new()
        .basic(ROTATING.0, ROTATING.1)
        .exit(exit)
        .start()?;
    let members = [member("tiny-1", "http", second.address(), Some(ROTATING))];
    let pcs = Pcs::start(&config(Some(&squid(&first)), &members, "")).await;
    Ok((first, second, pcs))
}

const REQUESTS: &str = r#"
import sys, requests
proxy, ca, plain, tls = sys.argv[1:]
with requests.Session() as session:
    session.proxies = {"http": proxy, "https": proxy}
    session.verify = ca
    session.trust_env = False
    for url in (plain, tls, plain, tls):
        print(session.get(url + "/ip", timeout=20).text.strip())
    answer = session.post(plain + "/echo", data=b"x" * 100000, timeout=20)
    print(len(answer.content), answer.headers["X-Method"])
    chunks = (b"y" * 1000 for _ in range(50))
    answer = session.put(plain + "/echo", data=chunks, timeout=20)
    print(len(answer.content), answer.headers["X-Method"])
    print(session.get(plain + "/chunked", timeout=20).text.split())
    print(session.head(tls + "/bytes/77", timeout=20).headers["Content-Length"])
"#;

#[tokio::test]
async fn python_requests() {
    let python = need!(python());
    if !run(command(&python, &["-c", "import requests"])).await.ok {
        let missing = Unavailable::Missing {
            program: "requests",
            package: "python3-requests",
        };
        need!(Err::<(), _>(missing));
    }
    let (_first, _second, pcs) = need!(chain("127.0.0.81").await);
    let ca = TestCa::new();
    let plain = Origin::start(OriginKind::Http).await;
    let tls = Origin::start_tls(OriginKind::Http, &ca.issue(&["127.0.0.1"])).await;
    let file = ca.file();
    let arguments = [
        "-c",
        REQUESTS,
        &pcs.url(),
        file.to_str().unwrap(),
        &plain.url(""),
        &tls.url(""),
    ];
    let said = run(command(&python, &arguments)).await;
    let exits = "127.0.0.81\n".repeat(4);
    let wanted = format!("{exits}100000 POST\n50000 PUT\n['one', 'two', 'three']\n77\n");
    assert_eq!(said.out, wanted, "{}", said.err);
}

const NODE: &str = r#"
const http = require("http"), https = require("https"), fs = require("fs"), tls = require("tls");
const [proxy, ca, plain, secure] = process.argv.slice(2);
const via = new URL(proxy);
const read = (response, next) => {
  let text = "";
  response.on("data", (part) => (text += part)).on("end", () => next(text.trim()));
};
const fail = (error) => { console.error(error); process.exit(1); };
const target = new URL(plain + "/ip");
http.get({ host: via.hostname, port: via.port, path: target.href, headers: { Host: target.host } }, (response) =>
  read(response, (text) => {
    console.log(text);
    const { hostname, port } = new URL(secure);
    http.request({ host: via.hostname, port: via.port, method: "CONNECT", path: `${hostname}:${port}` })
      .on("connect", (answer, socket) => {
        const inner = tls.connect({ socket, ca: fs.readFileSync(ca), host: hostname });
        https.get({ createConnection: () => inner, path: "/ip", headers: { Host: hostname } }, (response) =>
          read(response, (text) => { console.log(answer.statusCode, text); process.exit(0); })).on("error", fail);
      }).on("error", fail).end();
  })).on("error", fail);
"#;

#[tokio::test]
async fn node() {
    let node = need!(find("node", "nodejs"));
    let (_first, _second, pcs) = need!(chain("127.0.0.82").await);
    let ca = TestCa::new();
    let plain = Origin::start(OriginKind::Http).await;
    let tls = Origin::start_tls(OriginKind::Http, &ca.issue(&["127.0.0.1"])).await;
    let dir = TempDir::new().unwrap();
    let script = dir.path().join("client.js");
    std::fs::write(&script, NODE).unwrap();
    let file = ca.file();
    let arguments = [
        script.to_str().unwrap(),
        &pcs.url(),
        file.to_str().unwrap(),
        &plain.url(""),
        &tls.url(""),
    ];
    let said = run(command(&node, &arguments)).await;
    assert_eq!(said.out, "127.0.0.82\n200 127.0.0.82\n", "{}", said.err);
}

const WEBSOCKET: &str = r#"
const http = require("http"), crypto = require("crypto");
const [proxy, target] = process.argv.slice(2);
const via = new URL(proxy), end = new URL(target);
const fail = (error) => { console.error(error); process.exit(1); };
const frame = (opcode, payload) => {
  const mask = crypto.randomBytes(4);
  const length = payload.length < 126 ? Buffer.from([128 | payload.length])
    : Buffer.from([128 | 126, payload.length >> 8, payload.length & 255]);
  return Buffer.concat([Buffer.from([128 | opcode]), length, mask, payload.map((byte, at) => byte ^ mask[at % 4])]);
};
const speak = (how, socket, head, next) => {
  let read = head;
  const wanted = 2 + 5 + 4 + 40000;
  socket.on("data", (part) => {
    read = Buffer.concat([read, part]);
    if (read.length < wanted) return;
    console.log(how, read.subarray(2, 7).toString(), read.subarray(11).equals(Buffer.alloc(40000, "z")));
    socket.destroy();
    next();
  });
  socket.write(Buffer.concat([frame(1, Buffer.from("hello")), frame(2, Buffer.alloc(40000, "z"))]));
};
const headers = { Host: end.host, Connection: "Upgrade", Upgrade: "websocket",
  "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": crypto.randomBytes(16).toString("base64") };
http.request({ host: via.hostname, port: via.port, method: "CONNECT", path: end.host })
  .on("connect", (answer, tunnel) => {
    http.request({ createConnection: () => tunnel, path: "/ws", headers })
      .on("upgrade", (answer, socket, head) => speak("tunnel", socket, head, () => {
        http.request({ host: via.hostname, port: via.port, path: target + "/ws", headers })
          .on("upgrade", (answer, socket, head) => speak("plain", socket, head, () => process.exit(0)))
          .on("response", (answer) => fail(answer.statusCode)).on("error", fail).end();
      })).on("response", (answer) => fail(answer.statusCode)).on("error", fail).end();
  }).on("error", fail).end();
"#;

#[tokio::test]
async fn a_websocket_through_connect_and_through_a_plain_upgrade() {
    let node = need!(find("node", "nodejs"));
    let first = need!(Squid::new().basic(CORPORATE.0, CORPORATE.1).start());
    // A last hop that passes an upgrade of a plain request on: tinyproxy does not.
    let second = pcs_testkit::Proxy::http()
        .basic(ROTATING.0, ROTATING.1)
        .start()
        .await;
    let members = [member("rota-1", "http", second.address(), Some(ROTATING))];
    let pcs = Pcs::start(&config(Some(&squid(&first)), &members, "")).await;
    let origin = Origin::start(OriginKind::Http).await;
    let dir = TempDir::new().unwrap();
    let script = dir.path().join("client.js");
    std::fs::write(&script, WEBSOCKET).unwrap();
    let said = run(command(
        &node,
        &[script.to_str().unwrap(), &pcs.url(), &origin.url("")],
    ))
    .await;
    assert_eq!(said.out, "tunnel hello true\nplain hello true\n", "{}", said.err);
}

#[tokio::test]
async fn git_clones_a_repository() {
    let git = need!(find("git", "git"));
    let (_first, second, pcs) = need!(chain("127.0.0.83").await);
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let call = |arguments: &[&str]| {
        let mut command = command(&git, arguments);
        let author = [("GIT_AUTHOR_NAME", "a"), ("GIT_AUTHOR_EMAIL", "a@test")];
        let committer = [("GIT_COMMITTER_NAME", "a"), ("GIT_COMMITTER_EMAIL", "a@test")];
        command
            .envs(author)
            .envs(committer)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("HOME", dir.path());
        run(command)
    };
    let work = path("work");
    std::fs::create_dir(&work).unwrap();
    std::fs::write(dir.path().join("work/file.txt"), "content\n").unwrap();
    let steps: [&[&str]; 5] = [
        &["-C", &work, "init", "-q"],
        &["-C", &work, "add", "file.txt"],
        &["-C", &work, "commit", "-q", "-m", "first"],
        &["clone", "-q", "--bare", &work, &path("served.git")],
        &["-C", &path("served.git"), "update-server-info"],
    ];
    for step in steps {
        let said = call(step).await;
        assert!(said.ok, "git {step:?}: {}", said.err);
    }
    let files = need!(FileServer::new(dir.path()).start());
    let url = format!("http://{}/served.git", files.address());
    let proxy = format!("http.proxy={}", pcs.url());
    let clone = path("clone");
    let said = call(&["-c", &proxy, "clone", "-q", &url, &clone]).await;
    assert!(said.ok, "{}", said.err);
    assert_eq!(
        std::fs::read_to_string(dir.path().join("clone/file.txt")).unwrap(),
        "content\n"
    );
    let log = files.log();
    let requests: Vec<&str> = log.lines().filter(|line| line.contains("GET ")).collect();
    assert!(
        requests.len() > 2 && requests.iter().all(|line| line.starts_with("127.0.0.83 ")),
        "{log}"
    );
    assert!(
        second.log().contains("served.git") || second.log().contains("Established"),
        "{}",
        second.log()
    );
}

fn command(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}
