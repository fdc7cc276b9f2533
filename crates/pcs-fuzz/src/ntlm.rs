//! A server's CHALLENGE, and the proof we make of it, recomputed by other means.

use hmac::{Hmac, KeyInit as _, Mac as _};
use md4::{Digest as _, Md4};
use md5::Md5;
use pcs_tunnel::wire::ntlm::{Account, Challenge, Fresh, authenticate, negotiate};

const PASSWORD: &str = "hunter2-ntlm";
const FRESH: Fresh = Fresh {
    nonce: *b"nonsense",
    now: 134_398_656_000_000_000,
};

pub(crate) fn run(data: &[u8]) {
    let Ok(challenge) = Challenge::parse(data.to_vec()) else {
        return;
    };
    assert!(data.starts_with(b"NTLMSSP\0\x02\0\0\0") && data.len() >= 32);
    assert!(format!("{challenge:?}").len() < 60, "the message is not shown");
    for (username, domain) in [
        ("alice", Some("CORP")),
        ("CORP\\älice", None),
        ("alice@corp.test", None),
        ("", None),
    ] {
        let account = Account::new(username, domain, PASSWORD);
        assert!(!format!("{account:?}").contains(PASSWORD));
        let message = authenticate(&challenge, &account, FRESH);
        verify(data, &account, &message);
    }
}

/// MS-NLMP §3.3.2 and §3.1.5.1.2.
fn verify(challenge: &[u8], account: &Account<'_>, message: &[u8]) {
    assert!(message.starts_with(b"NTLMSSP\0\x03\0\0\0"));
    let [lm, nt, domain, user, workstation, session] = [12, 20, 28, 36, 44, 52].map(|at| field(message, at));
    assert!(workstation.is_empty() && session.is_empty());
    let flags = number(message, 60);
    // Exactly one character set, and never key exchange, signing or sealing that we did not offer.
    assert!(
        matches!(flags & 3, 1 | 2) && flags & 0x4000_0030 == 0,
        "{flags:#x}"
    );
    let encode = |text: &str| -> Vec<u8> {
        if flags & 1 == 1 {
            return utf16(text);
        }
        text.chars()
            .map(|char| if char.is_ascii() { char as u8 } else { b'?' })
            .collect()
    };
    assert_eq!(
        (domain, user),
        (encode(account.domain).as_slice(), encode(account.user).as_slice())
    );

    let (proof, blob) = nt.split_at_checked(16).expect("an NT response has a proof");
    let key = mac(
        &Md4::digest(utf16(account.password)),
        &[&utf16(&account.user.to_uppercase()), &utf16(account.domain)],
    );
    let nonce = challenge.get(24..32).expect("a challenge has a nonce");
    assert_eq!(proof, mac(&key, &[nonce, blob]));
    let (timestamp, has_mic) = target_info(blob);
    assert_eq!(timestamp.is_some(), has_mic);
    let header = if has_mic { 88 } else { 72 };
    assert_eq!(
        message.len(),
        header + lm.len() + nt.len() + domain.len() + user.len()
    );
    assert_eq!(lm.len(), 24);
    if let Some(timestamp) = timestamp {
        assert_eq!(blob.get(8..16), Some(timestamp), "the server's time counts");
        assert!(lm.iter().all(|byte| *byte == 0));
        let mut zeroed = message.to_vec();
        zeroed.get_mut(72..88).expect("there is room for a MIC").fill(0);
        let expected = mac(&mac(&key, &[proof]), &[&negotiate(), challenge, &zeroed]);
        assert_eq!(message.get(72..88), Some(expected.as_slice()));
    } else {
        assert_eq!(blob.get(8..16), Some(FRESH.now.to_le_bytes().as_slice()));
        assert_eq!(lm.get(..16), Some(mac(&key, &[nonce, &FRESH.nonce]).as_slice()));
    }
}

/// The timestamp of the list behind the fixed part of a blob, and whether a MIC is announced. The list ends, and
/// what is behind its end are the four zero bytes.
fn target_info(blob: &[u8]) -> (Option<&[u8]>, bool) {
    let mut at = 28;
    let (mut timestamp, mut flags) = (None, 0);
    loop {
        let (id, length) = (short(blob, at), usize::from(short(blob, at + 2)));
        let value = blob.get(at + 4..at + 4 + length).expect("a pair lies inside");
        at += 4 + length;
        match id {
            0 => break,
            6 => flags = number(value, 0),
            7 => timestamp = value.get(..8),
            _ => {}
        }
    }
    assert_eq!(blob.get(at..), Some([0; 4].as_slice()));
    (timestamp, flags & 2 != 0)
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Md5>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn field(message: &[u8], at: usize) -> &[u8] {
    let length = usize::from(short(message, at));
    assert_eq!(length, usize::from(short(message, at + 2)));
    let offset = usize::try_from(number(message, at + 4)).expect("32 bits fit");
    message.get(offset..offset + length).expect("a field lies inside")
}

fn short(bytes: &[u8], at: usize) -> u16 {
    let bytes = bytes.get(at..at + 2).and_then(|two| two.try_into().ok());
    u16::from_le_bytes(bytes.expect("a number lies inside"))
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    u32::from_le_bytes(bytes.expect("a number lies inside"))
}
