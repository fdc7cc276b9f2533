//! SOCKS: what hops answer, what clients ask, and both sides against each other.

use pcs_models::{Credentials, Secret, Target};
use pcs_server::fuzzing::{SocksMessage, SocksRead, read_socks};
use pcs_tunnel::wire::{Handshake, Socks4Connect, Socks5Connect, Socks5Greeting};

use crate::talk::{reveals, talk_in_every_way};

const PASSWORD: &str = "hunter2-socks";
const TARGETS: [&str; 4] = ["192.0.2.7:443", "target.example:443", "[2001:db8::7]:443", "a:1"];

pub(crate) fn run(data: &[u8]) {
    hop(data);
    client(data);
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(target) = text.trim().parse::<Target>()
    {
        both_sides(&target);
    }
}

/// The answers of a hop.
fn hop(data: &[u8]) {
    let credentials =
        Credentials::try_new("alice", Secret::new(PASSWORD.to_owned())).expect("they can be sent");
    for known in [None, Some(&credentials)] {
        let talked = talk_in_every_way(data, || Socks5Greeting::new(known));
        match &talked.end {
            Ok(Some(consumed)) => assert!(matches!(
                (data.get(..*consumed), known),
                (Some([5, 0]), _) | (Some([5, 2, 1 | 5, 0]), Some(_))
            )),
            Ok(None) => assert!(data.len() < 4),
            Err(error) => assert!(!reveals(&format!("{error} {error:?}"), &[PASSWORD], data)),
        }
        assert!(!format!("{:?}", Socks5Greeting::new(known)).contains(PASSWORD));
    }
    for target in TARGETS {
        let target: Target = target.parse().expect("an address");
        let talked = talk_in_every_way(data, || Socks5Connect::new(&target));
        if let Ok(Some(consumed)) = talked.end {
            assert!(matches!(data.get(..consumed), Some([5, 0, _, 1 | 3 | 4, ..])));
            assert!((7..=262).contains(&consumed));
        }
        let talked = talk_in_every_way(data, || Socks4Connect::new(&target, "alice"));
        if let Ok(Some(consumed)) = talked.end {
            assert!(matches!(
                data.get(..consumed),
                Some([0 | 4, 90, _, _, _, _, _, _])
            ));
        }
    }
}

/// The messages of a client: each is known at a byte, and no byte behind changes it.
fn client(data: &[u8]) {
    for message in [SocksMessage::Greeting, SocksMessage::Login, SocksMessage::Request] {
        let whole = read_socks(message, data);
        let mut settled = None;
        for end in 0..=data.len().min(600) {
            let read = read_socks(message, data.get(..end).unwrap_or_default());
            if let SocksRead::Message { length } | SocksRead::Connect { length, .. } = &read {
                assert!(*length <= end, "{message:?}: {length} of {end} bytes");
            }
            let settled = settled.get_or_insert_with(|| read.clone());
            match settled {
                SocksRead::NeedMore => *settled = read,
                SocksRead::Refused => assert!(matches!(read, SocksRead::Refused), "{message:?}, {end} bytes"),
                settled => assert_eq!(*settled, read, "{message:?}, {end} bytes"),
            }
        }
        if data.len() <= 600 {
            assert_eq!(settled, Some(whole), "{message:?}");
        } else {
            assert_ne!(whole, SocksRead::NeedMore, "{message:?} of more than 513 bytes");
        }
    }
}

/// What our client side asks, our server side understands.
fn both_sides(target: &Target) {
    let mut out = Vec::new();
    Socks5Connect::new(target)
        .advance(&[], &mut out)
        .expect("a target can be asked for");
    let expected = SocksRead::Connect {
        target: target.clone(),
        length: out.len(),
    };
    assert_eq!(read_socks(SocksMessage::Request, &out), expected);
    out.extend_from_slice(b"early");
    assert_eq!(read_socks(SocksMessage::Request, &out), expected);
}
