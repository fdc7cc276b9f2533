//! Talks to a WebSocket server with tokio-tungstenite through a chain of proxies.
//!
//! ```text
//! cargo run -p pcs-tunnel --example websocket -- http://127.0.0.1:3128 socks5://10.0.0.7:1080 echo.example:80
//! ```

use std::error::Error;
use std::io::Write;

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use pcs_tunnel::{Chain, ChainStream};

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    std::io::stdout().write_all(run(&arguments).await?.as_bytes())?;
    Ok(())
}

/// The answer to one message.
pub(crate) async fn run(arguments: &[String]) -> Result<String, Failure> {
    let (stream, target) = connect(arguments).await?;
    let (mut socket, _) = client_async(format!("ws://{target}/"), stream).await?;
    socket.send(Message::text("hello through the chain")).await?;
    let answer = socket
        .next()
        .await
        .ok_or("the server closed without an answer")??;
    socket.close(None).await?;
    Ok(format!("{}\n", answer.into_text()?))
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
