//! Gets a page with hyper through a chain of proxies.
//!
//! ```text
//! cargo run -p pcs-tunnel --example hyper_client -- http://127.0.0.1:3128 socks5://10.0.0.7:1080 example.com:80
//! ```

use std::error::Error;
use std::io::Write;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;

use pcs_tunnel::{Chain, ChainStream};

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    std::io::stdout().write_all(run(&arguments).await?.as_bytes())?;
    Ok(())
}

/// The status and the body of `/`.
pub(crate) async fn run(arguments: &[String]) -> Result<String, Failure> {
    let (stream, target) = connect(arguments).await?;
    // To hyper the stream is a connection like any other.
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async move {
        let request = Request::builder()
            .method(Method::GET)
            .uri("/")
            .header(HOST, target)
            .header(CONNECTION, "close")
            .body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), 1 << 20)
            .collect()
            .await?
            .to_bytes();
        Ok::<_, Failure>(format!("{status}\n{}", String::from_utf8_lossy(&body)))
    };
    // The connection has to be polled for the exchange to go on; it ends when the sender is gone.
    let (page, closed) = tokio::join!(exchange, connection);
    let page = page?;
    closed?;
    Ok(page)
}

/// A stream to the last argument, through the hops that stand before it.
async fn connect(arguments: &[String]) -> Result<(ChainStream, &str), Failure> {
    let (target, hops) = arguments.split_last().ok_or("usage: HOP... TARGET")?;
    let mut chain = Chain::builder();
    for hop in hops {
        chain = chain.hop(hop.as_str());
    }
    Ok((chain.build()?.connect(target).await?, target))
}
