//! Noise, and answers that begin well.

use proptest::prelude::*;

use super::*;

/// Feeds anything, in any pieces: no panic, never more consumed than given, never an endless loop.
fn survives(talk: &mut dyn Handshake, pieces: &[Vec<u8>]) {
    let (mut held, mut out) = (Vec::new(), Vec::new());
    if talk.advance(&[], &mut out).is_err() {
        return;
    }
    for piece in pieces {
        held.extend_from_slice(piece);
        match talk.advance(&held, &mut out) {
            Ok(Progress::NeedMore { consumed }) => {
                assert!(consumed <= held.len());
                held.drain(..consumed);
            }
            Ok(Progress::Done { consumed }) => {
                assert!(consumed <= held.len());
                return;
            }
            Err(_) => return,
        }
    }
    let _ = talk.take_said();
}

fn hostile() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let noise = proptest::collection::vec(any::<u8>(), 0..40);
    let good = prop_oneof![
        Just(asks(&["NTLM", "Basic realm=x"]).into_bytes()),
        Just(asks(&[&format!("NTLM {}", challenge_value())]).into_bytes()),
        Just(b"HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_vec()),
        Just(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
        Just(b"HTTP/1.1 ".to_vec()),
        Just(vec![5, 0]),
        Just(vec![5, 2]),
        Just(vec![5, 0, 0, 3, 255]),
        Just(vec![0, 90, 0]),
    ];
    let cut = (good, any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut bytes, at, byte)| {
        let at = at.index(bytes.len());
        bytes[at] ^= byte & 0x03;
        bytes
    });
    proptest::collection::vec(prop_oneof![noise, cut], 0..6)
}

proptest! {
    #[test]
    fn no_bytes_upset_a_handshake(pieces in hostile(), name in "[a-z]{1,20}\\.example:[1-9][0-9]{0,3}") {
        let (place, own) = (target(&name), credentials());
        let value = basic(&own);
        for first in [Scheme::Unasked, Scheme::Basic, Scheme::Ntlm] {
            survives(&mut HttpConnect::new(&place, auto(first, Some(&value))), &pieces);
            survives(&mut HttpProbe::new(&place, auto(first, Some(&value))), &pieces);
        }
        survives(&mut Socks4Connect::new(&place, "u"), &pieces);
        survives(&mut Socks5Greeting::new(Some(&own)), &pieces);
        survives(&mut Socks5Connect::new(&place), &pieces);
    }
}
