//! Heads of requests and responses: found alike however they are cut, read as strictly as promised, and what is
//! sent on says what was received.

use pcs_server::fuzzing::{Asked, asked};
use pcs_tunnel::wire::http1::{
    BodyLength, Fields, HeadError, HeadScan, MAX_FIELDS, RequestHead, Strictness, Version, in_known_version,
    read_request, read_response, request_body, response_body, slots,
};

use crate::dice::Cuts;

pub(crate) fn run(data: &[u8]) {
    for max in [40, 400, 1 << 20] {
        if let Some(head) = found(data, Strictness::Crlf, max) {
            request(head);
        }
        if let Some(head) = found(data, Strictness::BareLf, max) {
            response(head);
        }
    }
}

/// The head at the front of `data`, which is found wherever the bytes are cut or nowhere.
fn found(data: &[u8], strictness: Strictness, max: usize) -> Option<&[u8]> {
    let [whole, others @ ..] = Cuts::ways(data);
    let first = scan(data, strictness, max, whole);
    for cuts in others {
        let other = scan(data, strictness, max, cuts.clone());
        match (first, other) {
            // What is both too large and malformed is one of the two.
            (Err(_), Err(_)) => {}
            (one, two) => assert_eq!(one, two, "{cuts:?}"),
        }
    }
    let (start, end) = first.ok()??;
    assert!(
        end - start <= max,
        "{} bytes where {max} are allowed",
        end - start
    );
    data.get(start..end)
}

fn scan(
    data: &[u8],
    strictness: Strictness,
    max: usize,
    mut cuts: Cuts,
) -> Result<Option<(usize, usize)>, HeadError> {
    let mut scan = HeadScan::new(strictness, max);
    let mut arrived = 0;
    while arrived < data.len() {
        arrived += cuts.next(data.len() - arrived);
        if let Some(end) = scan.advance(data.get(..arrived).unwrap_or_default())? {
            assert!(end <= arrived && scan.start() < end);
            return Ok(Some((scan.start(), end)));
        }
    }
    Ok(None)
}

fn request(bytes: &[u8]) {
    let asked = asked(bytes);
    if let Some(known) = in_known_version(bytes) {
        assert_eq!(asked, self::asked(&known), "a later version means the same");
        return request(&known);
    }
    let mut slots = slots();
    let Ok(head) = read_request(bytes, &mut slots) else {
        assert!(
            matches!(asked, Asked::Refused { status: 400 | 431 }),
            "a head that cannot be read came to {asked:?}"
        );
        return;
    };
    exactly_as_written(bytes, &head);
    let body = request_body(head.version, head.fields);
    if body.is_ok() {
        let codings = head.fields.all("transfer-encoding").count();
        let lengths = head.fields.all("content-length").count();
        assert!(codings == 0 || lengths == 0, "two framings were taken");
        assert!(codings == 0 || head.version == Version::Http11);
    } else {
        assert!(
            matches!(asked, Asked::Refused { .. }),
            "{body:?} came to {asked:?}"
        );
    }
    if let Asked::Forward { origin, absolute, .. } = &asked
        && head.fields.len() + 4 <= MAX_FIELDS
    {
        let body = body.expect("what cannot be framed is refused");
        sent_on(origin, body, &asked);
        sent_on(absolute, body, &asked);
        assert!(origin.ends_with(fields_of(absolute)), "two forms of one request");
    }
}

/// What was read is what stands there, and nothing else stands there: no other reader can see another request.
fn exactly_as_written(bytes: &[u8], head: &RequestHead<'_, '_>) {
    let section = bytes
        .strip_suffix(b"\r\n\r\n")
        .expect("a head ends with an empty line");
    let mut lines = split_lines(section);
    let version = match head.version {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
    };
    let line = format!("{} {} HTTP/{version}", head.method, head.target);
    assert_eq!(lines.next(), Some(line.as_bytes()));
    assert!(!head.method.is_empty() && head.method.bytes().all(is_token));
    assert!(!head.target.is_empty() && head.target.bytes().all(|byte| byte > b' ' && byte != 127));
    each_field(head.fields);
    let mut count = 0;
    for (line, (name, value)) in lines.by_ref().zip(head.fields.iter()) {
        let rest = line
            .strip_prefix(name.as_bytes())
            .expect("a line begins with its name");
        let rest = rest.strip_prefix(b":").expect("no space before a colon");
        assert_eq!(rest.trim_ascii(), value, "{name}");
        count += 1;
    }
    assert_eq!(count, head.fields.len());
    assert_eq!(lines.next(), None, "each line is a field");
}

fn response(bytes: &[u8]) {
    let mut slots = slots();
    let Ok(head) = read_response(bytes, &mut slots) else {
        return;
    };
    assert!((100..=999).contains(&head.status));
    assert!(!head.reason.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
    each_field(head.fields);
    for to_head in [false, true] {
        let body = response_body(head.version, head.status, to_head, head.fields);
        let none = to_head || matches!(head.status, 100..=199 | 204 | 304);
        assert_eq!(none, body == Ok(BodyLength::None));
    }
}

fn each_field(fields: Fields<'_, '_>) {
    for (name, value) in fields.iter() {
        assert!(!name.is_empty() && name.bytes().all(is_token), "{name:?}");
        assert_eq!(value, value.trim_ascii(), "{name}");
        let bad = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 127;
        assert!(!value.iter().any(bad), "{name}: {value:?}");
        assert!(fields.all(name).any(|known| known == value));
    }
}

/// A head as it goes to the next hop: well-formed, framed as the request was, and free of what ends here.
fn sent_on(bytes: &[u8], body: BodyLength, asked: &Asked) {
    assert_eq!(found(bytes, Strictness::Crlf, 1 << 20), Some(bytes));
    let mut slots = slots();
    let head = read_request(bytes, &mut slots).expect("what is sent on is well-formed");
    exactly_as_written(bytes, &head);
    assert_eq!(head.version, Version::Http11);
    assert_eq!(request_body(head.version, head.fields), Ok(body));
    assert_eq!(head.fields.all("host").count(), 1);
    for (name, _) in head.fields.iter() {
        let name = name.to_ascii_lowercase();
        let ends_here = [
            "keep-alive",
            "proxy-connection",
            "proxy-authorization",
            "proxy-authenticate",
        ];
        assert!(
            !ends_here.contains(&name.as_str()) && !name.starts_with("x-proxy-"),
            "{name}"
        );
    }
    for option in head.fields.all("connection") {
        assert!(matches!(option, b"Upgrade" | b"TE"), "{option:?}");
    }
    let Asked::Forward { target, absolute, .. } = asked else {
        return;
    };
    if bytes != absolute {
        return;
    }
    // Read by another of us it is the same request.
    match self::asked(absolute) {
        Asked::Forward {
            target: again,
            absolute: twice,
            ..
        } => {
            assert_eq!((&again, &twice), (target, absolute));
        }
        other => assert!(
            matches!(other, Asked::Forward { .. }),
            "read again it came to {other:?}"
        ),
    }
}

fn fields_of(head: &[u8]) -> &[u8] {
    let end = head.iter().position(|byte| *byte == b'\n').unwrap_or_default();
    head.get(end..).unwrap_or_default()
}

fn split_lines(section: &[u8]) -> impl Iterator<Item = &[u8]> {
    section
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
