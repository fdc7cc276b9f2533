//! Where the metrics page is.

use std::sync::Arc;

use arc_swap::ArcSwap;
use pcs_admin::{Admin, Feed, Metrics};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::{Hand, kind, still};

#[tokio::test]
async fn the_metrics_page_is_where_it_is_said_to_be() {
    let pools = still::pools(&["a"]);
    let admin = Admin {
        control: Arc::new(Hand(pools.clone())),
        pools,
        metrics: Arc::new(Metrics::new(10, std::time::Instant::now())),
        feed: Feed::default(),
        gate: Arc::default(),
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let path = Arc::new(ArcSwap::from_pointee("/metrics".to_owned()));
    let serving = pcs_admin::serve_metrics(
        admin,
        listener,
        Arc::clone(&path),
        false,
        CancellationToken::new(),
    );
    let _serving = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(serving));
    let ask = async |line: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let text = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (
            head.split(' ').nth(1).unwrap().to_owned(),
            head.to_lowercase(),
            body.is_empty(),
        )
    };
    for (here, elsewhere) in [("/metrics", "/m"), ("/m", "/metrics")] {
        path.store(Arc::new(here.to_owned()));
        let (status, head, _) = ask(&format!("GET {here}?x")).await;
        assert_eq!((status.as_str(), kind(&head)), ("200", "text/plain"), "{head}");
        let (status, _, empty) = ask(&format!("HEAD {here}")).await;
        assert_eq!((status.as_str(), empty), ("200", true));
        let (status, head, _) = ask(&format!("POST {here}")).await;
        assert_eq!(status, "405", "{head}");
        assert!(head.contains("allow: get,head"), "{head}");
        for path in [elsewhere, "/", "/metrics/"] {
            let (status, head, _) = ask(&format!("GET {path}")).await;
            assert_eq!(
                (status.as_str(), kind(&head)),
                ("404", "application/problem+json")
            );
        }
    }
}
