//! Pages in a real browser that would like to change something on the admin port.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pcs_testkit::real::find;
use pcs_testkit::{Listening, Proxy, need};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::clients::{curl_text, field, patient_head};
use crate::pcs::{Pcs, config, member};

/// How long the browser may take to start and the page to try everything.
const LIMIT: Duration = Duration::from_secs(60);

/// What a page tries against `api`, the URL of the admin API; then it tells of it.
const PAGE: &str = r#"<!doctype html><title>evil</title><iframe name="sink"></iframe>
<form method="post" target="sink" enctype="text/plain"></form><script>
const api = "API", told = {};
const json = { "Content-Type": "application/json" }, plain = { "Content-Type": "text/plain" };
const added = (id) => JSON.stringify({ id, host: "evil.test", port: 1 });
const tries = {
  read: ["proxies", {}],
  post_plain: ["proxies", { method: "POST", mode: "no-cors", headers: plain, body: added("plain") }],
  post_form: ["proxies", { method: "POST", mode: "no-cors", body: new URLSearchParams({ id: "form" }) }],
  post_blob: ["proxies", { method: "POST", mode: "no-cors", body: new Blob([added("blob")]) }],
  post_json: ["proxies", { method: "POST", headers: json, body: added("json") }],
  patch: ["proxies/rota-1", { method: "PATCH", headers: json, body: '{"enabled":false}' }],
  remove: ["proxies/rota-2", { method: "DELETE" }],
  check: ["proxies/rota-1/check", { method: "POST", mode: "no-cors" }],
  reload: ["reload", { method: "POST", mode: "no-cors" }],
};
const form = document.forms[0];
form.action = api + "proxies";
const field = document.createElement("input");
field.name = '{"id":"posted","host":"evil.test","port":1,"tags":{"x":"';
field.value = '"}}';
form.append(field);
(async () => {
  for (const [name, [path, options]] of Object.entries(tries)) {
    told[name] = await fetch(api + path, options).then(
      (answer) => answer.type == "opaque" ? "opaque" : String(answer.status), (error) => "blocked");
  }
  told.beacon = String(navigator.sendBeacon(api + "reload", ""));
  const shown = new Promise((resolve) => { document.querySelector("iframe").onload = resolve; });
  form.submit();
  await Promise.race([shown, new Promise((resolve) => setTimeout(resolve, 5000))]);
  await fetch("/told", { method: "POST", body: JSON.stringify(told) });
})();
</script>"#;

/// A site with the page above. What is no part of it goes on to the admin port as it is: that is what a browser gets
/// whose name for the site now leads there.
struct Site {
    listening: Listening,
    told: mpsc::UnboundedReceiver<String>,
    passed: Arc<Mutex<Vec<String>>>,
}

impl Site {
    /// A site whose page goes for the API at this URL; `admin` is where it really is.
    async fn start(api: &str, admin: SocketAddr) -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        let page = PAGE.replace("API", api);
        let passed = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&passed);
        let listening = Listening::start([127, 0, 0, 1].into(), move |stream, _| {
            serve(stream, page.clone(), tell.clone(), admin, Arc::clone(&seen))
        })
        .await;
        Self {
            listening,
            told,
            passed,
        }
    }

    /// Opens its page in a browser of its own and waits for what it tells.
    async fn visit(&mut self, chromium: &Path, url: &str, rules: &str) -> Value {
        let profile = TempDir::new().unwrap();
        let log = profile.path().join("browser.log");
        let output = std::fs::File::create(&log).unwrap();
        let browser = Command::new(chromium)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
            ])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ])
            .args(["--disable-dev-shm-usage", "--no-proxy-server"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("--host-resolver-rules={rules}"))
            .arg(url)
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let browser = Browser(browser);
        let told = tokio::time::timeout(LIMIT, self.told.recv()).await;
        drop(browser);
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        let told = told.unwrap_or_else(|_| panic!("the page tells nothing; the browser said:\n{said}"));
        serde_json::from_str(&told.unwrap()).unwrap()
    }
}

/// A browser, which is ended with the test.
struct Browser(Child);

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn serve(
    mut stream: TcpStream,
    page: String,
    tell: mpsc::UnboundedSender<String>,
    admin: SocketAddr,
    passed: Arc<Mutex<Vec<String>>>,
) {
    let head = patient_head(&mut stream).await;
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match path {
        "/" => {
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
                page.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
        "/told" => {
            let length = field(&head, "content-length").and_then(|value| value.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            let _ = stream.read_exact(&mut body).await;
            let _ = tell.send(String::from_utf8_lossy(&body).into_owned());
            let _ = stream
                .write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
                .await;
        }
        _ if path.starts_with("/api/") => {
            passed.lock().push(format!("{method} {path}"));
            let Ok(mut there) = TcpStream::connect(admin).await else {
                return;
            };
            // One request a connection: the next may be the site's own.
            let head = head.replace("Connection: keep-alive", "Connection: close");
            if there.write_all(head.as_bytes()).await.is_ok() {
                let _ = copy_bidirectional(&mut stream, &mut there).await;
            }
        }
        _ => {
            _ = stream
                .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .await;
        }
    }
}

/// A PCS with two members, and a file that would bring a third if it were reloaded.
struct Scene {
    _pcs: Pcs,
    admin: SocketAddr,
    _proxy: Proxy,
}

impl Scene {
    async fn start(admin: &str) -> Self {
        let proxy = Proxy::http().start().await;
        let members = |count: usize| -> Vec<String> {
            (1..=count)
                .map(|n| member(&format!("rota-{n}"), "http", proxy.address(), None))
                .collect()
        };
        let config = |count| config(None, &members(count), "").replace("admin: {port: 0}", admin);
        let pcs = Pcs::start(&config(2)).await;
        std::fs::write(pcs.config(), config(3)).unwrap();
        let admin = pcs.listener("admin").unwrap();
        Self {
            _pcs: pcs,
            admin,
            _proxy: proxy,
        }
    }

    /// Id, and whether it is enabled, of every member.
    async fn members(&self) -> Vec<(String, bool)> {
        let said = curl_text(&[&format!("http://{}/api/v1/proxies", self.admin)]).await;
        let listing: Value = serde_json::from_str(&said).unwrap();
        let proxies = listing["proxies"].as_array().unwrap();
        let mut members: Vec<(String, bool)> = proxies
            .iter()
            .map(|proxy| (proxy["id"].as_str().unwrap().to_owned(), proxy["enabled"] == true))
            .collect();
        members.sort();
        members
    }
}

fn untouched() -> Vec<(String, bool)> {
    vec![("rota-1".to_owned(), true), ("rota-2".to_owned(), true)]
}

#[tokio::test]
async fn a_page_from_elsewhere_changes_nothing() {
    need!(find("curl", "curl"));
    let chromium = need!(find("chromium", "chromium"));
    let scene = Scene::start("admin: {port: 0}").await;
    let mut site = Site::start(&format!("http://{}/api/v1/", scene.admin), scene.admin).await;
    let url = format!("http://{}/", site.listening.address());
    let told = site.visit(&chromium, &url, "").await;
    eprintln!("a page from elsewhere: {told}");
    assert_eq!(scene.members().await, untouched());
    // What needs no preflight reached the port and was turned away there; the rest the browser did not even send.
    for sent in ["post_plain", "post_form", "post_blob", "check", "reload"] {
        assert_eq!(told[sent], "opaque", "{sent} did not get there: {told}");
    }
    for asked in ["read", "post_json", "patch", "remove"] {
        assert_eq!(told[asked], "blocked", "{asked}: {told}");
    }
}

#[tokio::test]
async fn a_page_whose_name_leads_to_the_admin_port_changes_nothing() {
    need!(find("curl", "curl"));
    let chromium = need!(find("chromium", "chromium"));
    // The second is the proof that the page can do harm: where its name is allowed, it does.
    for allowed in [false, true] {
        let admin = if allowed {
            "admin: {port: 0, allowed_hosts: [evil.test]}"
        } else {
            "admin: {port: 0}"
        };
        let scene = Scene::start(admin).await;
        let mut site = Site::start("/api/v1/", scene.admin).await;
        let port = scene.admin.port();
        let rules = format!("MAP evil.test:{port} {}", site.listening.address());
        let told = site
            .visit(&chromium, &format!("http://evil.test:{port}/"), &rules)
            .await;
        eprintln!("a rebound name, allowed: {allowed}: {told}");
        let passed = site.passed.lock().clone();
        for tried in [
            "GET /api/v1/proxies",
            "DELETE /api/v1/proxies/rota-2",
            "POST /api/v1/reload",
        ] {
            assert!(
                passed.iter().any(|seen| seen == tried),
                "{tried} did not get there: {passed:?}"
            );
        }
        if allowed {
            assert_ne!(scene.members().await, untouched(), "{told}");
            assert_eq!(
                (&told["read"], &told["remove"]),
                (&"200".into(), &"204".into()),
                "{told}"
            );
            continue;
        }
        assert_eq!(scene.members().await, untouched());
        for tried in [
            "read",
            "post_plain",
            "post_json",
            "patch",
            "remove",
            "check",
            "reload",
        ] {
            assert_eq!(told[tried], "421", "{tried}: {told}");
        }
    }
}
