//! The heads that a hop reads: just enough of HTTP for clients that are known to behave.

/// A complete head.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) is_connect: bool,
    pub(crate) is_authorized: bool,
    /// What the path asks for: `/bytes/N`.
    pub(crate) wanted: Option<u64>,
    pub(crate) content_length: u64,
    /// Bytes that the head takes.
    pub(crate) length: usize,
}

/// Reads a head; none if it has not ended yet.
pub(crate) fn parse(bytes: &[u8], credentials: &str) -> Option<Request> {
    let length = end_of_head(bytes)?;
    let head = std::str::from_utf8(&bytes[..length]).ok()?;
    let mut lines = head.split("\r\n");
    let line = lines.next()?;
    let mut request = Request {
        is_connect: line.starts_with("CONNECT "),
        is_authorized: false,
        wanted: line
            .split_once("/bytes/")
            .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok()),
        content_length: 0,
        length,
    };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("proxy-authorization") {
            request.is_authorized = value
                .strip_prefix("Basic ")
                .is_some_and(|given| given.trim() == credentials);
        } else if name.eq_ignore_ascii_case("content-length") {
            request.content_length = value.parse().ok()?;
        }
    }
    Some(request)
}

/// Where a head ends: behind its empty line.
pub(crate) fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(at + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read() {
        let head = b"CONNECT a:1 HTTP/1.1\r\nproxy-authorization: Basic abc\r\n\r\nrest";
        let request = parse(head, "abc").unwrap();
        assert!(request.is_connect && request.is_authorized);
        assert_eq!(&head[request.length..], b"rest");
        assert!(!parse(head, "other").unwrap().is_authorized);
        assert_eq!(parse(&head[..40], "abc"), None);
        let request = parse(
            b"POST http://a/bytes/12 HTTP/1.1\r\nContent-Length: 7\r\n\r\n",
            "abc",
        )
        .unwrap();
        assert_eq!(
            (request.wanted, request.content_length, request.is_connect),
            (Some(12), 7, false)
        );
    }
}
