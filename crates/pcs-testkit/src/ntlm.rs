//! The server's side of NTLMv2, which believes nothing: NTProofStr and MIC are recomputed (MS-NLMP §3.3.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use md4::{Digest as _, Md4};
use md5::Md5;

const SIGNATURE: &[u8] = b"NTLMSSP\0";
/// Unicode, request target, NTLM, always sign, extended session security, target info, version, 128 bit.
const FLAGS: u32 = 0x2288_8205;
/// NTLMSSP_NEGOTIATE_KEY_EXCH: we never offer it, so nobody may use it.
const KEY_EXCHANGE: u32 = 0x4000_0000;
/// MsvAvFlags: the AUTHENTICATE message carries a MIC.
const HAS_MIC: u32 = 2;
/// 20 November 2026 in 100 ns since 1601: any time will do, the client has to take it over.
const TIMESTAMP: u64 = 134_398_656_000_000_000;

/// Who may log in.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) domain: String,
    pub(crate) user: String,
    pub(crate) password: String,
}

/// What a successful NTLM login told about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NtlmLogin {
    /// The domain the client named.
    pub domain: String,
    /// The user the client named.
    pub user: String,
    /// The workstation the client named: empty unless it gives away its host name.
    pub workstation: String,
}

/// A CHALLENGE that was sent, and the NEGOTIATE it answered.
#[derive(Debug, Clone)]
pub(crate) struct Challenge {
    negotiate: Vec<u8>,
    message: Vec<u8>,
    nonce: [u8; 8],
}

impl Challenge {
    /// Whether this token is a NEGOTIATE message.
    pub(crate) fn is_negotiate(token: &[u8]) -> bool {
        token.starts_with(SIGNATURE) && u32_at(token, 8) == Some(1)
    }

    /// The answer to a NEGOTIATE message. The nonce follows from what was sent: tests repeat.
    pub(crate) fn new(negotiate: &[u8], domain: &str) -> Self {
        let mut nonce = [0; 8];
        let digest = Md5::digest(STANDARD.encode(negotiate));
        for (to, from) in nonce.iter_mut().zip(digest.iter()) {
            *to = *from;
        }
        let name = utf16(domain);
        let mut info = Vec::new();
        for (id, value) in [
            (2, name.clone()),
            (1, utf16("TESTPROXY")),
            (4, utf16("corp.test")),
            (3, utf16("proxy.corp.test")),
        ] {
            pair(&mut info, id, &value);
        }
        pair(&mut info, 7, &TIMESTAMP.to_le_bytes());
        pair(&mut info, 0, &[]);
        let mut message = SIGNATURE.to_vec();
        message.extend(2_u32.to_le_bytes());
        let after = 56 + u32_of(name.len());
        message.extend(buffer(name.len(), 56));
        message.extend(FLAGS.to_le_bytes());
        message.extend(nonce);
        message.extend([0; 8]);
        message.extend(buffer(info.len(), after));
        message.extend([10, 0, 0x61, 0x4a, 0, 0, 0, 15]);
        message.extend(&name);
        message.extend(&info);
        Self {
            negotiate: negotiate.to_vec(),
            message,
            nonce,
        }
    }

    /// The CHALLENGE message.
    pub(crate) fn message(&self) -> &[u8] {
        &self.message
    }

    /// Recomputes what an AUTHENTICATE message claims to prove; the error says what is wrong with it.
    pub(crate) fn verify(&self, token: &[u8], account: &Account) -> Result<NtlmLogin, &'static str> {
        if !token.starts_with(SIGNATURE) || u32_at(token, 8) != Some(3) {
            return Err("no AUTHENTICATE message");
        }
        let field = |at: usize| slice(token, at).ok_or("a buffer lies outside the message");
        let (lm, nt) = (field(12)?, field(20)?);
        let (domain, user, workstation) = (text(field(28)?), text(field(36)?), text(field(44)?));
        if !user.eq_ignore_ascii_case(&account.user) || !domain.eq_ignore_ascii_case(&account.domain) {
            return Err("another user or domain");
        }
        if u32_at(token, 60).ok_or("no flags")? & KEY_EXCHANGE != 0 {
            return Err("key exchange was not offered");
        }
        let proof = nt.get(..16).ok_or("the NT response is too short")?;
        let blob = nt.get(16..).unwrap_or_default();
        let key = hmac(
            &Md4::digest(utf16(&account.password)),
            &[&utf16(&user.to_uppercase()), &utf16(&domain)],
        );
        if hmac(&key, &[&self.nonce, blob]) != proof {
            return Err("NTProofStr does not fit");
        }
        if lm.iter().any(|byte| *byte != 0) {
            return Err("an LM response beside a timestamp");
        }
        let flags = av_pair(blob.get(28..).unwrap_or_default(), 6).and_then(|value| u32_at(value, 0));
        if flags.unwrap_or_default() & HAS_MIC == 0 {
            return Err("a timestamp asks for a MIC");
        }
        let mut zeroed = token.to_vec();
        let place = zeroed.get_mut(72..88).ok_or("no room for a MIC")?;
        let mic = place.to_vec();
        place.fill(0);
        let session = hmac(&key, &[proof]);
        if hmac(&session, &[&self.negotiate, &self.message, &zeroed]) != mic {
            return Err("the MIC does not fit");
        }
        Ok(NtlmLogin {
            domain,
            user,
            workstation,
        })
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Md5>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn text(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|unit| u16_at(unit, 0).unwrap_or_default())
        .collect();
    String::from_utf16_lossy(&units)
}

fn pair(info: &mut Vec<u8>, id: u16, value: &[u8]) {
    info.extend(id.to_le_bytes());
    info.extend(u16_of(value.len()).to_le_bytes());
    info.extend(value);
}

fn av_pair(mut info: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (id, length) = (u16_at(info, 0)?, u16_at(info, 2)?);
        let value = info.get(4..4 + usize::from(length))?;
        match id {
            0 => return None,
            id if id == wanted => return Some(value),
            _ => info = info.get(4 + usize::from(length)..)?,
        }
    }
}

/// Length, room and offset of a payload field.
fn buffer(length: usize, offset: u32) -> Vec<u8> {
    let length = u16_of(length).to_le_bytes();
    [length.as_slice(), &length, &offset.to_le_bytes()].concat()
}

fn slice(message: &[u8], at: usize) -> Option<&[u8]> {
    let length = usize::from(u16_at(message, at)?);
    let offset = usize::try_from(u32_at(message, at + 4)?).ok()?;
    message.get(offset..offset.checked_add(length)?)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn u16_of(length: usize) -> u16 {
    u16::try_from(length).expect("names of tests are short")
}

fn u32_of(length: usize) -> u32 {
    u32::try_from(length).expect("names of tests are short")
}

#[cfg(test)]
mod tests;
