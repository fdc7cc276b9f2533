//! Handshakes fed in pieces.

use pcs_tunnel::wire::{Handshake, HandshakeError, Progress};

use crate::dice::Cuts;

/// What a handshake came to.
#[derive(Debug)]
pub(crate) struct Talked {
    /// How it ended and how many bytes belonged to it; `None` where more is awaited.
    pub(crate) end: Result<Option<usize>, HandshakeError>,
    /// Everything that was sent.
    pub(crate) sent: Vec<u8>,
    pub(crate) said: Option<String>,
}

/// Runs a handshake as whoever has a stream does: first with nothing, then with what has come and was not consumed.
pub(crate) fn talk(handshake: &mut dyn Handshake, data: &[u8], mut cuts: Cuts) -> Talked {
    let (mut sent, mut out) = (Vec::new(), Vec::new());
    let (mut consumed_before, mut arrived) = (0, 0);
    let end = loop {
        let received = data.get(consumed_before..arrived).unwrap_or_default();
        let progress = match handshake.advance(received, &mut out) {
            Ok(progress) => progress,
            Err(error) => break Err(error),
        };
        sent.append(&mut out);
        let (Progress::NeedMore { consumed } | Progress::Done { consumed }) = progress;
        assert!(
            consumed <= received.len(),
            "{consumed} of {} bytes consumed",
            received.len()
        );
        consumed_before += consumed;
        if let Progress::Done { .. } = progress {
            break Ok(Some(consumed_before));
        }
        if arrived == data.len() {
            break Ok(None);
        }
        arrived += cuts.next(data.len() - arrived);
    };
    Talked {
        end,
        sent,
        said: handshake.take_said().map(|said| said.to_string()),
    }
}

/// Runs a handshake with the input cut in several ways, and checks that this makes no difference. Answers what the
/// first came to.
pub(crate) fn talk_in_every_way<H: Handshake>(data: &[u8], make: impl Fn() -> H) -> Talked {
    let [whole, others @ ..] = Cuts::ways(data);
    let first = talk(&mut make(), data, whole);
    for cuts in others {
        let other = talk(&mut make(), data, cuts.clone());
        match (&first.end, &other.end) {
            (Ok(one), Ok(two)) => {
                assert_eq!(one, two, "{cuts:?}");
                assert_eq!(first.sent, other.sent, "{cuts:?}");
                assert_eq!(first.said, other.said, "{cuts:?}");
            }
            // Which of two mistakes is found first may depend on what has come; what is made of them may not.
            (Err(one), Err(two)) => {
                assert_eq!(
                    (one.kind(), one.status()),
                    (two.kind(), two.status()),
                    "{one} or {two}, {cuts:?}"
                );
            }
            (one, two) => assert!(one.is_ok() == two.is_ok(), "{one:?} or {two:?}, {cuts:?}"),
        }
    }
    first
}

/// Whether `text` holds any of the secrets that `data` itself does not hold.
pub(crate) fn reveals(text: &str, secrets: &[&str], data: &[u8]) -> bool {
    let known = |secret: &str| {
        data.windows(secret.len())
            .any(|window| window == secret.as_bytes())
    };
    secrets
        .iter()
        .any(|secret| text.contains(secret) && !known(secret))
}
