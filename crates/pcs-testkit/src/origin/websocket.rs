//! A WebSocket server that echoes (RFC 6455), written without a library: a peer must not share code with a client.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Client;
use crate::Head;

/// RFC 6455 §1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The largest frame it takes, bytes.
const MAX_FRAME: u64 = 16 << 20;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Answers the upgrade, then echoes frames until the client closes.
pub(super) async fn serve(mut client: Client, head: &Head) -> io::Result<()> {
    let key = head
        .field("sec-websocket-key")
        .ok_or(io::ErrorKind::InvalidData)?;
    let accept = STANDARD.encode(sha1(format!("{key}{GUID}").as_bytes()));
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    client.write_all(answer.as_bytes()).await?;
    client.flush().await?;
    loop {
        let first = client.read_u8().await?;
        let second = client.read_u8().await?;
        let length = match second & 0x7f {
            126 => u64::from(client.read_u16().await?),
            127 => client.read_u64().await?,
            short => u64::from(short),
        };
        if length > MAX_FRAME || second & 0x80 == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut mask = [0; 4];
        client.read_exact(&mut mask).await?;
        let mut payload = vec![0; usize::try_from(length).unwrap_or_default()];
        client.read_exact(&mut payload).await?;
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        let opcode = first & 0x0f;
        let answered = if opcode == PING {
            first & 0xf0 | PONG
        } else {
            first
        };
        client.write_all(&frame(answered, &payload)).await?;
        client.flush().await?;
        if opcode == CLOSE {
            return client.shutdown().await;
        }
    }
}

/// An unmasked frame with this first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(u8::try_from(length).unwrap_or_default()),
        length @ 126..=65_535 => {
            bytes.push(126);
            bytes.extend(u16::try_from(length).unwrap_or_default().to_be_bytes());
        }
        length => {
            bytes.push(127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// SHA-1 (FIPS 180-4 §6.1), which the opening handshake wants and nothing else here.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend((message.len() as u64 * 8).to_be_bytes());
    let mut h: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in padded.chunks_exact(64) {
        let mut w: Vec<u32> = block
            .chunks_exact(4)
            .map(|word| word.iter().fold(0, |all, byte| all << 8 | u32::from(*byte)))
            .collect();
        for t in 16..80 {
            let mixed = [3, 8, 14, 16]
                .iter()
                .fold(0, |all, back| all ^ w.get(t - back).copied().unwrap_or_default());
            w.push(mixed.rotate_left(1));
        }
        let [mut a, mut b, mut c, mut d, mut e] = h;
        for (t, word) in w.iter().enumerate() {
            let (f, k) = match t {
                0..=19 => (b & c | !b & d, 0x5a82_7999),
                20..=39 => (b ^ c ^ d, 0x6ed9_eba1),
                40..=59 => (b & c | b & d | c & d, 0x8f1b_bcdc_u32),
                _ => (b ^ c ^ d, 0xca62_c1d6),
            };
            let next = a
                .rotate_left(5)
                .wrapping_add(f)
                .wrapping_add(e)
                .wrapping_add(k)
                .wrapping_add(*word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (sum, part) in h.iter_mut().zip([a, b, c, d, e]) {
            *sum = sum.wrapping_add(part);
        }
    }
    let mut digest = [0; 20];
    for (to, from) in digest
        .iter_mut()
        .zip(h.iter().flat_map(|word| word.to_be_bytes()))
    {
        *to = from;
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455 §1.3.
    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        let accept = STANDARD.encode(sha1(format!("dGhlIHNhbXBsZSBub25jZQ=={GUID}").as_bytes()));
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
