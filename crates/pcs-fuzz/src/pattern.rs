//! Bytes that tell their place: what each end of a relay says.

/// Places after which the bytes repeat; a prime, so that no buffer's size is a multiple.
const PERIOD: u8 = 251;

/// `count` bytes of what the end of this `salt` says, from place `from` on.
pub(crate) fn said(salt: u8, from: usize, count: usize) -> Vec<u8> {
    let period = usize::from(PERIOD);
    let once: Vec<u8> = (0..PERIOD).map(|place| salt.wrapping_add(place)).collect();
    let mut bytes = once.repeat(count / period + 2);
    bytes.drain(..from % period);
    bytes.truncate(count);
    bytes
}

/// Whether `bytes` are what the end of this `salt` says from place `from` on.
pub(crate) fn is_said(bytes: &[u8], salt: u8, from: usize) -> bool {
    said(salt, from, bytes.len()) == bytes
}
