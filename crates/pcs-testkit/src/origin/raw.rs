//! Targets below HTTP.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Client;
use crate::{Digest, Pattern};

/// Sends `first`, then every byte that comes.
pub(super) async fn echo(mut client: Client, first: &[u8]) -> io::Result<()> {
    client.write_all(first).await?;
    client.flush().await?;
    let (mut reader, mut writer) = tokio::io::split(client);
    let copied = copy_flushing(&mut reader, &mut writer).await;
    writer.shutdown().await?;
    copied
}

/// Copies, and flushes whenever there is nothing more to read: TLS holds bytes back otherwise.
async fn copy_flushing(
    reader: &mut (impl AsyncReadExt + Unpin),
    writer: &mut (impl AsyncWriteExt + Unpin),
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = reader.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        writer.write_all(buffer.get(..read).unwrap_or_default()).await?;
        writer.flush().await?;
    }
}

/// Sends and reads `length` bytes at once, then tells the digest of what was read.
pub(super) async fn exchange(client: Client, length: u64) -> io::Result<Digest> {
    let (mut reader, mut writer) = tokio::io::split(client);
    let read = async {
        let mut digest = Digest::default();
        let mut buffer = vec![0; 64 * 1024];
        while digest.length() < length {
            let read = reader.read(&mut buffer).await?;
            if read == 0 {
                break;
            }
            digest.add(buffer.get(..read).unwrap_or_default());
        }
        io::Result::Ok(digest)
    };
    let write = async {
        let mut pattern = Pattern::new(2);
        let mut left = length;
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(64 * 1024);
            writer.write_all(&pattern.take(now)).await?;
            left -= now as u64;
        }
        writer.flush().await
    };
    let (digest, written) = tokio::join!(read, write);
    written?;
    let digest = digest?;
    writer.write_all(format!("{digest}\n").as_bytes()).await?;
    writer.shutdown().await?;
    Ok(digest)
}

/// Reads and says nothing.
pub(super) async fn silent(mut client: Client) -> io::Result<()> {
    let mut buffer = vec![0; 4096];
    while client.read(&mut buffer).await? > 0 {}
    Ok(())
}
