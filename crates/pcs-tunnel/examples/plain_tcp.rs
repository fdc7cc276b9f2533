//! Says a line to a TCP service through a chain of proxies, and shows what it answers.
//!
//! ```text
//! cargo run -p pcs-tunnel --example plain_tcp -- http://127.0.0.1:3128 socks5://10.0.0.7:1080 example.com:7
//! ```

use std::error::Error;
use std::io::Write;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use pcs_tunnel::{Chain, ChainStream};

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    std::io::stdout().write_all(run(&arguments).await?.as_bytes())?;
    Ok(())
}

/// The answer to one line.
pub(crate) async fn run(arguments: &[String]) -> Result<String, Failure> {
    let (mut stream, _) = connect(arguments).await?;
    stream.write_all(b"hello through the chain\r\n").await?;
    // The far side sees the end of our direction and may still answer on its own.
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.take(64 * 1024).read_to_string(&mut answer).await?;
    Ok(answer)
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
