use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use super::*;

/// How a client gets it wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    Password,
    Domain,
    Mic,
    NoMicFlag,
    LmResponse,
    Truncated,
}

const NEGOTIATE: [u8; 32] = *b"NTLMSSP\0\x01\0\0\0\x05\x82\x88\xa2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

fn account() -> Account {
    Account {
        domain: "Corp".to_owned(),
        user: "User".to_owned(),
        password: "s3cret".to_owned(),
    }
}

/// The AUTHENTICATE message of a client that follows MS-NLMP §3.1.5.1.2, but for the flaw.
fn authenticate(challenge: &[u8], account: &Account, flaw: Flaw) -> Vec<u8> {
    let nonce = challenge.get(24..32).unwrap();
    let info = slice(challenge, 40).unwrap();
    let timestamp = av_pair(info, 7).unwrap();
    let mut targets = info.strip_suffix(&[0; 4]).unwrap().to_vec();
    if flaw != Flaw::NoMicFlag {
        pair(&mut targets, 6, &HAS_MIC.to_le_bytes());
    }
    pair(&mut targets, 0, &[]);
    let blob = [
        &[1, 1, 0, 0, 0, 0, 0, 0],
        timestamp,
        &[0x5a; 8],
        &[0; 4],
        &targets,
        &[0; 4],
    ]
    .concat();
    let password = if flaw == Flaw::Password {
        "guess"
    } else {
        &account.password
    };
    let domain = if flaw == Flaw::Domain {
        "ELSEWHERE"
    } else {
        &account.domain
    };
    let upper = account.user.to_uppercase();
    let key = hmac(&Md4::digest(utf16(password)), &[&utf16(&upper), &utf16(domain)]);
    let proof = hmac(&key, &[nonce, &blob]);
    let nt = [proof.as_slice(), &blob].concat();
    let lm = [u8::from(flaw == Flaw::LmResponse); 24];
    let (domain, user) = (utf16(domain), utf16(&account.user));
    let mut message = SIGNATURE.to_vec();
    message.extend(3_u32.to_le_bytes());
    let mut payload: Vec<u8> = Vec::new();
    for part in [&lm[..], &nt, &domain, &user, &[], &[]] {
        message.extend(buffer(part.len(), 88 + u32_of(payload.len())));
        payload.extend(part);
    }
    message.extend(FLAGS.to_le_bytes());
    message.extend([0; 8]);
    message.extend([0; 16]);
    message.extend(payload);
    let mut mic = hmac(&hmac(&key, &[&proof]), &[&NEGOTIATE, challenge, &message]);
    if flaw == Flaw::Mic {
        mic.fill(7);
    }
    message.get_mut(72..88).unwrap().copy_from_slice(&mic);
    if flaw == Flaw::Truncated {
        message.truncate(100);
    }
    message
}

const FLAWS: [(Flaw, &str); 7] = [
    (Flaw::None, ""),
    (Flaw::Password, "NTProofStr does not fit"),
    (Flaw::Domain, "another user or domain"),
    (Flaw::Mic, "the MIC does not fit"),
    (Flaw::NoMicFlag, "a timestamp asks for a MIC"),
    (Flaw::LmResponse, "an LM response beside a timestamp"),
    (Flaw::Truncated, "a buffer lies outside the message"),
];

#[test]
fn a_right_login_passes_and_every_flaw_is_named() {
    for (flaw, wanted) in FLAWS {
        let challenge = Challenge::new(&NEGOTIATE, "Corp");
        let message = authenticate(challenge.message(), &account(), flaw);
        match challenge.verify(&message, &account()) {
            Ok(login) => assert_eq!(
                (flaw, login.user.as_str(), login.workstation.as_str()),
                (Flaw::None, "User", "")
            ),
            Err(error) => assert_eq!(error, wanted, "{flaw:?}"),
        }
    }
}

#[test]
fn the_helper_of_squid_judges_alike() {
    let python = crate::need!(crate::real::python());
    let dir = tempfile::TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let helper = file("helper.py", include_str!("../../assets/ntlm_auth.py"));
    let login = file("account", "Corp\nUser\ns3cret\n");
    let mut command = Command::new(python);
    command.arg(helper).arg(login).arg(dir.path().join("log"));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ask = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut say = |line: String| {
        ask.write_all(line.as_bytes()).unwrap();
        answers.next().unwrap().unwrap()
    };
    for (flaw, wanted) in FLAWS {
        let challenge = say(format!("YR {}\n", STANDARD.encode(NEGOTIATE)));
        let challenge = STANDARD.decode(challenge.strip_prefix("TT ").unwrap()).unwrap();
        let message = authenticate(&challenge, &account(), flaw);
        let verdict = say(format!("KK {}\n", STANDARD.encode(message)));
        let wanted = if flaw == Flaw::None {
            "AF User".to_owned()
        } else {
            format!("NA {wanted}")
        };
        assert_eq!(verdict, wanted, "{flaw:?}");
    }
    assert!(say("KK AAAA\n".to_owned()).starts_with("NA "));
    assert!(say("LD\n".to_owned()).starts_with("BH "));
    drop(ask);
    child.wait().unwrap();
}

/// MS-NLMP §4.2.4.1.1 and §4.2.4.2.2: NTOWFv2, and NTProofStr over its `temp`.
#[test]
fn vectors_of_the_specification() {
    let key = hmac(
        &Md4::digest(utf16("Password")),
        &[&utf16("USER"), &utf16("Domain")],
    );
    assert_eq!(hex(&key), "0c868a403bfd7a93a3001ef22ef02e3f");
    let temp = [
        &[1, 1, 0, 0, 0, 0, 0, 0][..],
        &[0; 8],
        &[0xaa; 8],
        &[0; 4],
        &[2, 0, 12, 0],
        &utf16("Domain"),
        &[1, 0, 12, 0],
        &utf16("Server"),
        &[0; 4],
        &[0; 4],
    ]
    .concat();
    let nonce = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
    assert_eq!(
        hex(&hmac(&key, &[&nonce, &temp])),
        "68cd0ab851e51c96aabc927bebef6a1c"
    );
}

#[test]
fn rubbish_is_refused() {
    let challenge = Challenge::new(&NEGOTIATE, "Corp");
    assert!(challenge.verify(b"", &account()).is_err());
    let mut message = [SIGNATURE, &[3, 0, 0, 0], &[0xff; 80]].concat();
    assert!(challenge.verify(&message, &account()).is_err());
    message.truncate(20);
    assert!(challenge.verify(&message, &account()).is_err());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
