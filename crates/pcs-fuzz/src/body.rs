//! Bodies: the same bytes come out however they come in, and they are those that a simple reader finds.

use pcs_tunnel::wire::http1::{
    Body, BodyError, BodyLength, HeadScan, Strictness, Trailers, read_request, request_body, slots,
};

use crate::dice::Cuts;

/// Takes a request with its body, or a chunked body alone.
pub(crate) fn run(data: &[u8]) {
    let (length, body) = announced(data).unwrap_or((BodyLength::Chunked, data));
    let data_only = follow_in_every_way(length, Trailers::Unwrap, body);
    let clean = follow_in_every_way(length, Trailers::Keep(keeps), body);
    let (data_only, clean) = match (data_only, clean) {
        (Ok(one), Ok(two)) => (one, two),
        (one, two) => {
            assert_eq!(one.err(), two.err());
            return;
        }
    };
    assert_eq!((data_only.consumed, data_only.done), (clean.consumed, clean.done));
    if length != BodyLength::Chunked {
        assert_eq!(
            (&data_only.kept, &clean.kept),
            (
                &body.get(..data_only.consumed).unwrap_or_default().to_vec(),
                &data_only.kept
            )
        );
        return;
    }
    if !data_only.done {
        return;
    }
    let (expected, consumed) = simply(body).expect("what is over can be read");
    assert_eq!((&data_only.kept, data_only.consumed), (&expected, consumed));
    assert!(data_only.tail.is_empty() && clean.tail.ends_with(b"\r\n"));

    // What is sent on is the same body, and as clean as it gets.
    let sent = [clean.kept.as_slice(), &clean.tail].concat();
    let again =
        follow(length, Trailers::Keep(keeps), &sent, Cuts::Whole).expect("what is sent on is well-formed");
    assert!(again.done && again.consumed == sent.len());
    assert_eq!([again.kept, again.tail].concat(), sent);
    let read = follow(length, Trailers::Unwrap, &sent, Cuts::Bytes).expect("what is sent on is well-formed");
    assert_eq!(read.kept, data_only.kept);
}

/// The body that a request at the front of `data` announces, and what follows the head.
fn announced(data: &[u8]) -> Option<(BodyLength, &[u8])> {
    let mut scan = HeadScan::new(Strictness::Crlf, 1 << 20);
    let end = scan.advance(data).ok()??;
    let mut slots = slots();
    let head = read_request(data.get(scan.start()..end)?, &mut slots).ok()?;
    Some((request_body(head.version, head.fields).ok()?, data.get(end..)?))
}

fn keeps(name: &str) -> bool {
    name.starts_with(['x', 'X'])
}

#[derive(Debug, PartialEq, Eq)]
struct Followed {
    kept: Vec<u8>,
    tail: Vec<u8>,
    consumed: usize,
    done: bool,
}

fn follow_in_every_way(length: BodyLength, trailers: Trailers, data: &[u8]) -> Result<Followed, BodyError> {
    let [whole, others @ ..] = Cuts::ways(data);
    let first = follow(length, trailers, data, whole);
    for cuts in others {
        assert_eq!(first, follow(length, trailers, data, cuts.clone()), "{cuts:?}");
    }
    first
}

fn follow(
    length: BodyLength,
    trailers: Trailers,
    data: &[u8],
    mut cuts: Cuts,
) -> Result<Followed, BodyError> {
    let mut body = Body::new(length, trailers);
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < data.len() && !body.is_done() {
        let piece = cuts.next(data.len() - at);
        let mut buffer = data.get(at..at + piece).unwrap_or_default().to_vec();
        let step = body.filter(&mut buffer)?;
        assert!(
            step.kept <= step.consumed && step.consumed <= piece,
            "{step:?} of {piece}"
        );
        assert!(step.consumed == piece || body.is_done(), "{step:?} of {piece}");
        kept.extend_from_slice(buffer.get(..step.kept).unwrap_or_default());
        at += step.consumed;
    }
    Ok(Followed {
        kept,
        tail: body.take_tail(),
        consumed: at,
        done: body.is_done(),
    })
}

/// Reads a whole chunked body the simple way; answers its data and its length.
fn simply(data: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut out, mut at) = (Vec::new(), 0);
    loop {
        let rest = data.get(at..)?;
        let line = rest.get(..find(rest, b"\r\n")?)?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = std::str::from_utf8(line.get(..digits)?).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        at += line.len() + 2;
        if size == 0 {
            let rest = data.get(at..)?;
            let trailers = if rest.starts_with(b"\r\n") {
                2
            } else {
                find(rest, b"\r\n\r\n")? + 4
            };
            return Some((out, at + trailers));
        }
        out.extend_from_slice(data.get(at..at.checked_add(size)?)?);
        at += size;
        data.get(at..)?.starts_with(b"\r\n").then_some(())?;
        at += 2;
    }
}

fn find(data: &[u8], wanted: &[u8]) -> Option<usize> {
    data.windows(wanted.len()).position(|window| window == wanted)
}
