//! Request targets (RFC 9112 §3.2).

use pcs_models::{AddressError, Target};

/// What a request target names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RequestTarget<'a> {
    /// `http://authority/path?query`, what a proxy is asked for.
    Absolute {
        target: Target,
        /// The authority as written: proven, and safe to be sent.
        authority: &'a str,
        /// Path and query, never empty.
        path: &'a str,
    },
    /// `/path?query` or `*`: meant for the server itself.
    Origin(&'a str),
}

/// Why a request target is none that can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TargetError {
    #[error("the target of CONNECT has to be host:port: {0}")]
    Connect(AddressError),
    #[error("the authority of the target is not well-formed: {0}")]
    Authority(AddressError),
    #[error("a request target has no fragment")]
    Fragment,
    #[error("only http:// targets are forwarded; use CONNECT for others, as clients do for https://")]
    Scheme,
    #[error("the request target has no known form")]
    Form,
}

/// Reads the target of a CONNECT (authority form).
pub(super) fn authority_form(text: &str) -> Result<Target, TargetError> {
    text.parse().map_err(TargetError::Connect)
}

/// Reads the target of any other request.
pub(super) fn other_form<'a>(text: &'a str, method: &str) -> Result<RequestTarget<'a>, TargetError> {
    if text.starts_with('/') || text == "*" {
        return Ok(RequestTarget::Origin(text));
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(TargetError::Form);
    };
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(TargetError::Scheme);
    }
    if rest.contains('#') {
        return Err(TargetError::Fragment);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    // An empty port is the default one (RFC 3986 §3.2.3) and is not passed on.
    let authority = authority.strip_suffix(':').unwrap_or(authority);
    let target = Target::parse_with_default(authority, 80).map_err(TargetError::Authority)?;
    let path = match path {
        // An empty path of OPTIONS asks about the server as a whole (RFC 9112 §3.2.4).
        "" if method == "OPTIONS" => "*",
        "" => "/",
        path => path,
    };
    Ok(RequestTarget::Absolute {
        target,
        authority,
        path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_told_apart_by_their_form() {
        let absolute = |host: &str, authority, path| {
            Ok(RequestTarget::Absolute {
                target: host.parse().unwrap(),
                authority,
                path,
            })
        };
        let cases = [
            (
                "http://a.example/x?y",
                absolute("a.example:80", "a.example", "/x?y"),
            ),
            (
                "HTTP://A.example:8080",
                absolute("a.example:8080", "A.example:8080", "/"),
            ),
            (
                "http://a.example?q=1",
                absolute("a.example:80", "a.example", "?q=1"),
            ),
            ("http://[::1]:81/", absolute("[::1]:81", "[::1]:81", "/")),
            ("/health", Ok(RequestTarget::Origin("/health"))),
            ("*", Ok(RequestTarget::Origin("*"))),
            ("http://a.example/#f", Err(TargetError::Fragment)),
            ("http:///x", Err(TargetError::Authority(AddressError::EmptyHost))),
            (
                "http://u:p@a.example/",
                Err(TargetError::Authority(AddressError::UserInfo)),
            ),
            (
                "http://a.example:0/",
                Err(TargetError::Authority(AddressError::BadPort)),
            ),
            ("http://a.example:/x", absolute("a.example:80", "a.example", "/x")),
            (
                "http://a.example::/",
                Err(TargetError::Authority(AddressError::BadPort)),
            ),
            ("https://a.example/", Err(TargetError::Scheme)),
            ("ftp://a.example/", Err(TargetError::Scheme)),
            ("a.example:80", Err(TargetError::Form)),
            ("", Err(TargetError::Form)),
        ];
        for (text, expected) in cases {
            assert_eq!(other_form(text, "GET"), expected, "{text}");
        }
        assert_eq!(
            other_form("http://a.example", "OPTIONS"),
            absolute("a.example:80", "a.example", "*")
        );
    }
}
