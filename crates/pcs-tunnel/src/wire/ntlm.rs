//! `NTLMv2` (MS-NLMP): the client's three messages, without connection, clock or randomness.
//!
//! [`negotiate`] makes the NEGOTIATE message, [`Challenge::parse`] reads the server's CHALLENGE (hostile input:
//! every offset is checked), [`authenticate`] makes the AUTHENTICATE message that proves the password.
//!
//! What not: LM, `NTLMv1`, signing and sealing, key exchange. The workstation's name is never told.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use md4::{Digest as _, Md4};
use md5::Md5;
use thiserror::Error;

const SIGNATURE: [u8; 8] = *b"NTLMSSP\0";

/// NTLMSSP_NEGOTIATE flags (MS-NLMP §2.2.2.5) that we know.
mod flag {
    pub(super) const UNICODE: u32 = 0x0000_0001;
    pub(super) const OEM: u32 = 0x0000_0002;
    pub(super) const REQUEST_TARGET: u32 = 0x0000_0004;
    pub(super) const NTLM: u32 = 0x0000_0200;
    pub(super) const ALWAYS_SIGN: u32 = 0x0000_8000;
    pub(super) const EXTENDED_SESSION_SECURITY: u32 = 0x0008_0000;
    pub(super) const TARGET_INFO: u32 = 0x0080_0000;
    pub(super) const VERSION: u32 = 0x0200_0000;
    pub(super) const BITS_128: u32 = 0x2000_0000;
    pub(super) const BITS_56: u32 = 0x8000_0000;
}

/// What we can do. No signing, sealing or key exchange: the proxy's connection is not protected by NTLM anyhow.
const OFFERED: u32 = flag::UNICODE
    | flag::OEM
    | flag::REQUEST_TARGET
    | flag::NTLM
    | flag::ALWAYS_SIGN
    | flag::EXTENDED_SESSION_SECURITY
    | flag::TARGET_INFO
    | flag::VERSION
    | flag::BITS_128
    | flag::BITS_56;

/// Windows 10, NTLM revision 15 (MS-NLMP §2.2.2.10): the same for everybody, so it tells nothing about us.
const VERSION: [u8; 8] = [10, 0, 0x61, 0x4a, 0, 0, 0, 15];

/// AV pair ids (MS-NLMP §2.2.2.1).
mod av {
    pub(super) const EOL: u16 = 0;
    pub(super) const FLAGS: u16 = 6;
    pub(super) const TIMESTAMP: u16 = 7;
}

/// The bit of `MsvAvFlags` that says: the AUTHENTICATE message carries a MIC.
const HAS_MIC: u32 = 2;

/// The most bytes of a CHALLENGE message. Real ones have a few hundred.
const MAX_CHALLENGE: usize = 16 * 1024;

/// Why a CHALLENGE message cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NtlmError {
    /// It is no base64.
    #[error("it is no base64")]
    Encoding,
    /// It is no CHALLENGE message.
    #[error("it is no CHALLENGE message")]
    NotChallenge,
    /// It ends too early, or one of its fields lies outside.
    #[error("one of its fields lies outside the message")]
    OutOfBounds,
    /// It is larger than any real one.
    #[error("it is larger than any real one")]
    TooLarge,
    /// The list of its target information is broken or has no end.
    #[error("its target information is broken")]
    BadTargetInfo,
    /// It offers neither Unicode nor OEM characters.
    #[error("it offers no character set")]
    NoCharset,
}

/// The NEGOTIATE message (MS-NLMP §2.2.1.1): what we can do, and nothing about who we are.
#[must_use]
pub fn negotiate() -> [u8; 40] {
    let mut message = [0; 40];
    let parts = SIGNATURE
        .into_iter()
        .chain(1_u32.to_le_bytes())
        .chain(OFFERED.to_le_bytes())
        // No domain and no workstation: two empty fields.
        .chain([0; 16])
        .chain(VERSION);
    for (place, byte) in message.iter_mut().zip(parts) {
        *place = byte;
    }
    message
}

/// A server's CHALLENGE message (MS-NLMP §2.2.1.2).
#[derive(Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The whole message: the MIC covers it.
    message: Vec<u8>,
    flags: u32,
    nonce: [u8; 8],
    /// The AV pairs without their terminator and without `MsvAvFlags`.
    pairs: Vec<u8>,
    /// The bits of `MsvAvFlags` that the server set.
    av_flags: Option<u32>,
    timestamp: Option<[u8; 8]>,
}

impl Challenge {
    /// Reads a CHALLENGE message.
    ///
    /// # Errors
    ///
    /// [`NtlmError`] where it is none, or lies about its fields.
    pub fn parse(message: Vec<u8>) -> Result<Self, NtlmError> {
        if message.len() > MAX_CHALLENGE {
            return Err(NtlmError::TooLarge);
        }
        if !message.starts_with(&SIGNATURE) || u32_at(&message, 8) != Some(2) {
            return Err(NtlmError::NotChallenge);
        }
        let flags = u32_at(&message, 20).ok_or(NtlmError::OutOfBounds)?;
        let nonce = array_at(&message, 24).ok_or(NtlmError::OutOfBounds)?;
        if flags & (flag::UNICODE | flag::OEM) == 0 {
            return Err(NtlmError::NoCharset);
        }
        // Old servers end their message before this field.
        let info = if flags & flag::TARGET_INFO != 0 {
            field_at(&message, 40)?
        } else {
            &[]
        };
        let mut this = Self {
            flags,
            nonce,
            pairs: Vec::with_capacity(info.len()),
            av_flags: None,
            timestamp: None,
            message: Vec::new(),
        };
        this.read_pairs(info)?;
        this.message = message;
        Ok(this)
    }

    fn read_pairs(&mut self, mut info: &[u8]) -> Result<(), NtlmError> {
        if info.is_empty() {
            return Ok(());
        }
        loop {
            let broken = NtlmError::BadTargetInfo;
            let (id, length) = (u16_at(info, 0).ok_or(broken)?, u16_at(info, 2).ok_or(broken)?);
            if id == av::EOL {
                return Ok(());
            }
            let end = usize::from(length).checked_add(4).ok_or(broken)?;
            let (pair, rest) = info.split_at_checked(end).ok_or(broken)?;
            match id {
                av::FLAGS => self.av_flags = Some(u32_at(pair, 4).ok_or(broken)?),
                av::TIMESTAMP => self.timestamp = Some(array_at(pair, 4).ok_or(broken)?),
                _ => {}
            }
            if id != av::FLAGS {
                self.pairs.extend_from_slice(pair);
            }
            info = rest;
        }
    }

    /// The target information as the client sends it back, terminator included.
    fn target_info(&self) -> Vec<u8> {
        let mut info = self.pairs.clone();
        let mic = if self.timestamp.is_some() { HAS_MIC } else { 0 };
        // Whether there is a MIC is ours to say, whatever a server claims.
        let flags = (self.av_flags.unwrap_or_default() & !HAS_MIC) | mic;
        if self.av_flags.is_some() || flags != 0 {
            info.extend_from_slice(&av::FLAGS.to_le_bytes());
            info.extend_from_slice(&4_u16.to_le_bytes());
            info.extend_from_slice(&flags.to_le_bytes());
        }
        // MsvAvEOL: id and length 0.
        info.extend_from_slice(&[0; 4]);
        info
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenge")
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}

/// Who logs in.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    /// The domain, possibly empty.
    pub domain: &'a str,
    /// The user name, without the domain or as `user@domain`.
    pub user: &'a str,
    /// The password.
    pub password: &'a str,
}

impl<'a> Account<'a> {
    /// Reads the spellings of user names: `DOMAIN\user` names the domain itself, `user@domain` is left whole (the
    /// server knows how to read it), and a plain name belongs to `domain`.
    #[must_use]
    pub fn new(username: &'a str, domain: Option<&'a str>, password: &'a str) -> Self {
        let (domain, user) = match username.split_once('\\') {
            Some((own, user)) => (own, user),
            None => (domain.unwrap_or_default(), username),
        };
        Self {
            domain,
            user,
            password,
        }
    }

    /// NTOWFv2 (MS-NLMP §3.3.2). Only the user name is raised to upper case.
    fn key(&self) -> [u8; 16] {
        let user: String = self.user.chars().map(upper).collect();
        hmac_md5(
            &Md4::digest(utf16(self.password)),
            &[&utf16(&user), &utf16(self.domain)],
        )
    }
}

impl fmt::Debug for Account<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("domain", &self.domain)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// What must be fresh for each login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fresh {
    /// Random bytes.
    pub nonce: [u8; 8],
    /// The time in units of 100 ns since 1 January 1601, UTC. The server's own is used where it tells one.
    pub now: u64,
}

/// The AUTHENTICATE message (MS-NLMP §2.2.1.3) that answers `challenge`.
///
/// Where the server told its time, the message carries a MIC over all three messages and a zero LM response
/// (MS-NLMP §3.1.5.1.2).
#[must_use]
pub fn authenticate(challenge: &Challenge, account: &Account<'_>, fresh: Fresh) -> Vec<u8> {
    let key = account.key();
    let time = challenge.timestamp.unwrap_or_else(|| fresh.now.to_le_bytes());
    let blob = blob(time, fresh.nonce, &challenge.target_info());
    let proof = hmac_md5(&key, &[&challenge.nonce, &blob]);
    let nt = [proof.as_slice(), &blob].concat();
    let lm = if challenge.timestamp.is_some() {
        vec![0; 24]
    } else {
        [
            hmac_md5(&key, &[&challenge.nonce, &fresh.nonce]).as_slice(),
            &fresh.nonce,
        ]
        .concat()
    };
    let mut message = write_authenticate(challenge, account, &lm, &nt);
    if challenge.timestamp.is_some() {
        // Without key exchange the exported session key is the session base key.
        let session = hmac_md5(&key, &[&proof]);
        let mic = hmac_md5(&session, &[&negotiate(), &challenge.message, &message]);
        if let Some(place) = message.get_mut(MIC_AT..HEADER_WITH_MIC) {
            place.copy_from_slice(&mic);
        }
    }
    message
}

/// NTLMv2_CLIENT_CHALLENGE (MS-NLMP §2.2.2.7), with the zero bytes behind it.
fn blob(time: [u8; 8], nonce: [u8; 8], target_info: &[u8]) -> Vec<u8> {
    [
        &[1, 1, 0, 0, 0, 0, 0, 0],
        time.as_slice(),
        &nonce,
        &[0; 4],
        target_info,
        &[0; 4],
    ]
    .concat()
}

/// Where the MIC stands, behind the fields, the flags and the version.
const MIC_AT: usize = 72;
/// Where the payload begins behind a MIC.
const HEADER_WITH_MIC: usize = 88;

fn write_authenticate(challenge: &Challenge, account: &Account<'_>, lm: &[u8], nt: &[u8]) -> Vec<u8> {
    let unicode = challenge.flags & flag::UNICODE != 0;
    let (charset, encode): (u32, fn(&str) -> Vec<u8>) = if unicode {
        (flag::UNICODE, utf16)
    } else {
        (flag::OEM, oem)
    };
    let flags = (OFFERED & challenge.flags & !(flag::UNICODE | flag::OEM)) | charset;
    let (domain, user) = (encode(account.domain), encode(account.user));
    let header = if challenge.timestamp.is_some() {
        HEADER_WITH_MIC
    } else {
        MIC_AT
    };
    // Names first, as Windows has it; workstation and session key are empty.
    let payload: [&[u8]; 4] = [&domain, &user, lm, nt];
    let mut offsets = [0_u32; 4];
    let mut at = header;
    for (offset, part) in offsets.iter_mut().zip(payload) {
        *offset = u32::try_from(at).unwrap_or(u32::MAX);
        at = at.saturating_add(part.len());
    }
    let [domain_at, user_at, lm_at, nt_at] = offsets;
    let mut message = Vec::with_capacity(at);
    message.extend_from_slice(&SIGNATURE);
    message.extend_from_slice(&3_u32.to_le_bytes());
    for (part, offset) in [
        (lm, lm_at),
        (nt, nt_at),
        (&domain, domain_at),
        (&user, user_at),
        (&[], lm_at),
        (&[], lm_at),
    ] {
        // Lengths are bounded: credentials by 255 bytes, the challenge by 16 KiB.
        let length = u16::try_from(part.len()).unwrap_or(u16::MAX).to_le_bytes();
        message.extend_from_slice(&length);
        message.extend_from_slice(&length);
        message.extend_from_slice(&offset.to_le_bytes());
    }
    message.extend_from_slice(&flags.to_le_bytes());
    message.extend_from_slice(&VERSION);
    message.resize(header, 0);
    for part in payload {
        message.extend_from_slice(part);
    }
    message
}

fn hmac_md5(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let mut mac = Hmac::<Md5>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// The server's code page is not known, so only ASCII survives.
fn oem(text: &str) -> Vec<u8> {
    text.chars()
        .map(|char| u8::try_from(char).ok().filter(u8::is_ascii).unwrap_or(b'?'))
        .collect()
}

/// Upper case as Windows has it: one character for one (`ß` stays).
fn upper(char: char) -> char {
    let mut upper = char.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(one), None) => one,
        _ => char,
    }
}

/// The payload that a field of length, room and offset points to.
fn field_at(message: &[u8], at: usize) -> Result<&[u8], NtlmError> {
    let read = || {
        let length = usize::from(u16_at(message, at)?);
        let offset = usize::try_from(u32_at(message, at.checked_add(4)?)?).ok()?;
        message.get(offset..offset.checked_add(length)?)
    };
    read().ok_or(NtlmError::OutOfBounds)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests;
