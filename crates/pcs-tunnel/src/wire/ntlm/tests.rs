//! The vectors of MS-NLMP §4.2.4, the rules about timestamps, and hostile challenges.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that is out of bounds fails as it should"
)]

use proptest::prelude::*;

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// §4.2.4.3: the CHALLENGE message of the examples.
fn example() -> Vec<u8> {
    bytes(
        "4e544c4d53535000 02000000 0c000c0038000000 33828ae2 0123456789abcdef 0000000000000000
         2400240044000000 060070170000000f 530065007200760065007200
         02000c0044006f006d00610069006e00 01000c00530065007200760065007200 00000000",
    )
}

const USER: Account<'static> = Account {
    domain: "Domain",
    user: "User",
    password: "Password",
};

const FRESH: Fresh = Fresh {
    nonce: [0xaa; 8],
    now: 0,
};

/// The payload of the field at `at` of an AUTHENTICATE message.
fn field(message: &[u8], at: usize) -> &[u8] {
    field_at(message, at).unwrap()
}

/// A challenge with these flags and this target information.
fn challenge(flags: u32, info: &[u8]) -> Vec<u8> {
    let mut message = SIGNATURE.to_vec();
    message.extend(2_u32.to_le_bytes());
    message.extend([0; 8]);
    message.extend(flags.to_le_bytes());
    message.extend([0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
    message.extend([0; 8]);
    let length = u16::try_from(info.len()).unwrap().to_le_bytes();
    message.extend(length);
    message.extend(length);
    message.extend(56_u32.to_le_bytes());
    message.extend([0; 8]);
    message.extend(info);
    message
}

const TIMESTAMP: [u8; 12] = [7, 0, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8];
const EOL: [u8; 4] = [0; 4];
const MODERN: u32 = flag::UNICODE | flag::NTLM | flag::TARGET_INFO | flag::EXTENDED_SESSION_SECURITY;

#[test]
fn the_key_is_that_of_the_specification() {
    assert_eq!(USER.key().to_vec(), bytes("0c868a403bfd7a93a3001ef22ef02e3f"));
}

#[test]
fn the_responses_are_those_of_the_specification() {
    let challenge = Challenge::parse(example()).unwrap();
    let message = authenticate(&challenge, &USER, FRESH);
    let lm = bytes("86c35097ac9cec102554764a57cccc19 aaaaaaaaaaaaaaaa");
    assert_eq!(field(&message, 12), lm, "§4.2.4.2.1");
    let nt = bytes(
        "68cd0ab851e51c96aabc927bebef6a1c 01010000 00000000 0000000000000000 aaaaaaaaaaaaaaaa 00000000
         02000c0044006f006d00610069006e00 01000c00530065007200760065007200 00000000 00000000",
    );
    assert_eq!(field(&message, 20), nt, "§4.2.4.2.2");
    assert_eq!(field(&message, 28), utf16("Domain"));
    assert_eq!(field(&message, 36), utf16("User"));
    assert_eq!(
        field(&message, 44),
        b"",
        "the workstation's name is nobody's business"
    );
    assert_eq!(field(&message, 52), b"", "no key is exchanged");
    let session = hmac_md5(&USER.key(), &[&nt[..16]]);
    assert_eq!(
        session.to_vec(),
        bytes("8de40ccadbc14a82f15cb0ad0de95ca3"),
        "§4.2.4.1.2"
    );
}

#[test]
fn the_opening_says_nothing_about_us() {
    let message = negotiate();
    assert_eq!(message[..12], *b"NTLMSSP\0\x01\0\0\0");
    assert_eq!(message[16..32], [0; 16], "no domain, no workstation");
    let flags = u32_at(&message, 12).unwrap();
    assert_eq!(flags & 0x4000_0030, 0, "no sealing, no signing, no key exchange");
}

#[test]
fn a_timestamp_asks_for_a_mic_and_no_lm_response() {
    let raw = challenge(MODERN, &[&TIMESTAMP[..], &EOL].concat());
    let parsed = Challenge::parse(raw.clone()).unwrap();
    let message = authenticate(
        &parsed,
        &USER,
        Fresh {
            nonce: [9; 8],
            now: 77,
        },
    );
    assert_eq!(field(&message, 12), [0; 24], "a zero LM response");
    let nt = field(&message, 20);
    assert_eq!(nt[24..32], TIMESTAMP[4..], "the server's time, not ours");
    assert_eq!(nt[44..56], TIMESTAMP, "its pairs come back in order");
    assert_eq!(nt[56..64], [6, 0, 4, 0, 2, 0, 0, 0], "the flag that says: a MIC");
    assert_eq!(nt[64..], [0; 8]);
    let key = hmac_md5(
        &Md4::digest(utf16("Password")),
        &[&utf16("USER"), &utf16("Domain")],
    );
    assert_eq!(nt[..16], hmac_md5(&key, &[&raw[24..32], &nt[16..]]));
    let mut zeroed = message.clone();
    zeroed[72..88].fill(0);
    let mic = hmac_md5(&hmac_md5(&key, &[&nt[..16]]), &[&negotiate(), &raw, &zeroed]);
    assert_eq!(message[72..88], mic);
}

#[test]
fn flags_of_the_server_are_kept_beside_ours() {
    let flags = [6, 0, 4, 0, 1, 0, 0, 0];
    let parsed = Challenge::parse(challenge(MODERN, &[&flags[..], &TIMESTAMP, &EOL].concat())).unwrap();
    assert_eq!(
        parsed.target_info(),
        [&TIMESTAMP[..], &[6, 0, 4, 0, 3, 0, 0, 0], &EOL].concat()
    );
    let parsed = Challenge::parse(challenge(MODERN, &[&flags[..], &EOL].concat())).unwrap();
    assert_eq!(
        parsed.target_info(),
        [&flags[..], &EOL].concat(),
        "no timestamp, no MIC"
    );
    let claimed = [6, 0, 4, 0, 3, 0, 0, 0];
    let parsed = Challenge::parse(challenge(MODERN, &[&claimed[..], &EOL].concat())).unwrap();
    assert_eq!(
        parsed.target_info(),
        [&flags[..], &EOL].concat(),
        "not even where the server claims one"
    );
}

#[test]
fn without_a_timestamp_our_own_time_goes() {
    let parsed = Challenge::parse(challenge(MODERN, &EOL)).unwrap();
    let message = authenticate(
        &parsed,
        &USER,
        Fresh {
            nonce: [9; 8],
            now: 0x0102_0304_0506_0708,
        },
    );
    assert_eq!(field(&message, 20)[24..32], [8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(
        field(&message, 28).as_ptr(),
        message[72..].as_ptr(),
        "no room for a MIC is left"
    );
}

#[test]
fn a_server_without_unicode_gets_oem_names() {
    let parsed = Challenge::parse(challenge(flag::OEM | flag::NTLM, &[])).unwrap();
    let account = Account {
        domain: "D\u{f6}m",
        user: "u",
        password: "p",
    };
    let message = authenticate(&parsed, &account, FRESH);
    assert_eq!(
        (field(&message, 28), field(&message, 36)),
        (&b"D?m"[..], &b"u"[..])
    );
    assert_eq!(u32_at(&message, 60).unwrap() & 3, flag::OEM);
}

#[test]
fn user_names_are_read_in_every_spelling() {
    let cases = [
        ("user", None, ("", "user")),
        ("user", Some("CORP"), ("CORP", "user")),
        ("OTHER\\user", Some("CORP"), ("OTHER", "user")),
        ("OTHER\\user", None, ("OTHER", "user")),
        ("user@corp.example", None, ("", "user@corp.example")),
        ("user@corp.example", Some("CORP"), ("CORP", "user@corp.example")),
    ];
    for (name, domain, expected) in cases {
        let account = Account::new(name, domain, "p");
        assert_eq!((account.domain, account.user), expected, "{name}");
    }
}

#[test]
fn upper_case_is_one_character_for_one() {
    let upper: String = "stra\u{df}e \u{e9}\u{fb01}".chars().map(upper).collect();
    assert_eq!(upper, "STRA\u{df}E \u{c9}\u{fb01}");
}

#[test]
fn broken_challenges_are_refused() {
    let wrong_type = [&SIGNATURE[..], &[3, 0, 0, 0], &[0; 40]].concat();
    let mut far = challenge(MODERN, &EOL);
    far[44..48].copy_from_slice(&u32::MAX.to_le_bytes());
    let cases = [
        (Vec::new(), NtlmError::NotChallenge),
        (b"NTLMSSP\0".to_vec(), NtlmError::NotChallenge),
        (wrong_type, NtlmError::NotChallenge),
        (example()[..28].to_vec(), NtlmError::OutOfBounds),
        (example()[..70].to_vec(), NtlmError::OutOfBounds),
        (far, NtlmError::OutOfBounds),
        (challenge(MODERN, &TIMESTAMP), NtlmError::BadTargetInfo),
        (challenge(MODERN, &[2, 0, 255, 255, 1]), NtlmError::BadTargetInfo),
        (
            challenge(MODERN, &[7, 0, 4, 0, 1, 2, 3, 4, 0, 0, 0, 0]),
            NtlmError::BadTargetInfo,
        ),
        (
            challenge(MODERN, &[6, 0, 0, 0, 0, 0, 0, 0]),
            NtlmError::BadTargetInfo,
        ),
        (challenge(flag::NTLM, &[]), NtlmError::NoCharset),
        ([example(), vec![0; 20_000]].concat(), NtlmError::TooLarge),
    ];
    for (message, expected) in cases {
        assert_eq!(Challenge::parse(message.clone()), Err(expected), "{message:02x?}");
    }
}

#[test]
fn an_old_challenge_without_target_information_will_do() {
    let mut message = challenge(flag::UNICODE | flag::NTLM, &[]);
    message.truncate(32);
    let parsed = Challenge::parse(message).unwrap();
    assert_eq!(parsed.target_info(), EOL);
}

#[test]
fn nothing_shows_a_password() {
    let shown = format!("{USER:?} {:?}", Challenge::parse(example()).unwrap());
    assert!(!shown.contains("Password"), "{shown}");
}

proptest! {
    #[test]
    fn no_challenge_panics(noise in proptest::collection::vec(any::<u8>(), 0..120), keep in 0_usize..100) {
        let mut message = example();
        message.truncate(keep);
        message.extend(&noise);
        for message in [noise, message] {
            if let Ok(challenge) = Challenge::parse(message) {
                let sent = authenticate(&challenge, &USER, FRESH);
                prop_assert!(sent.len() < 20_000);
            }
        }
    }

    #[test]
    fn one_flipped_byte_panics_nothing(at in 0_usize..104, byte in any::<u8>()) {
        let mut message = example();
        message[at] = byte;
        if let Ok(challenge) = Challenge::parse(message) {
            let _ = authenticate(&challenge, &USER, FRESH);
        }
    }
}
