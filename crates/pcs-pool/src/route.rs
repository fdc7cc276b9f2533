//! Routes: which way a target goes where the client did not say.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use pcs_models::{AddressError, Host, PoolName, Target};
use thiserror::Error;

/// One rule: targets it matches go this way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSpec {
    /// Any of them matching is enough.
    pub hosts: Vec<HostPattern>,
    /// Where such targets go.
    pub action: RouteAction,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteAction {
    /// Through a proxy of this pool.
    Pool(PoolName),
    /// Straight to the target: asked for by name, so no shorter chain than configured.
    Direct,
    /// Through the corporate proxy only.
    Corporate,
    /// Nowhere: the client is told 403.
    Reject,
}

/// Why a text is no host pattern.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PatternError {
    /// Nothing there.
    #[error("the pattern is empty")]
    Empty,
    /// A slash, but no network (CIDR) around it.
    #[error("the pattern is no network in CIDR form (such as `10.0.0.0/8`)")]
    BadNetwork,
    /// A character that neither host names nor globs have.
    #[error("the pattern holds a character that is not allowed (letters, digits, `-`, `_`, `.`, `*`, `?`)")]
    BadCharacter,
    /// Neither glob nor suffix, and no host either.
    #[error(transparent)]
    Host(#[from] AddressError),
}

/// What targets a route is for, by host; the port plays no part.
///
/// | text | matches |
/// |---|---|
/// | `example.com`, `10.0.0.1`, `::1` | exactly that host |
/// | `.example.com` | `example.com` and every name below it |
/// | `*.example.com` | every name below `example.com`, at any depth, not itself |
/// | `api-*.example.com`, `*`, `10.?.*` | a glob over the whole text: `*` any run, `?` any one character |
/// | `10.0.0.0/8`, `2001:db8::/32` | literal addresses in the network; names are never resolved for it |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Exact(Host),
    /// The suffix without its dot; matches itself too.
    Suffix(Box<str>),
    Glob(Box<str>),
    Network(IpNet),
}

impl HostPattern {
    /// Whether the pattern covers `host`. The trailing dot of a rooted name makes no difference.
    #[must_use]
    pub fn matches(&self, host: &Host) -> bool {
        match (&self.0, host) {
            (Kind::Network(network), _) => host.ip().is_some_and(|ip| network.contains(&ip)),
            (Kind::Exact(own), Host::Ip(_)) => own.ip().is_some() && own.ip() == host.ip(),
            (Kind::Exact(Host::Name(own)), Host::Name(name)) => rootless(own) == rootless(name),
            (Kind::Exact(Host::Ip(_)), Host::Name(_)) | (Kind::Suffix(_), Host::Ip(_)) => false,
            (Kind::Suffix(suffix), Host::Name(name)) => {
                let stem = rootless(name).strip_suffix(&**suffix);
                stem.is_some_and(|stem| stem.is_empty() || stem.ends_with('.'))
            }
            (Kind::Glob(glob), Host::Name(name)) => glob_matches(glob, rootless(name)),
            (Kind::Glob(glob), Host::Ip(_)) => {
                // `10.*` is understood; so is a client that spells an IPv4 address as a mapped IPv6 one.
                host.ip().is_some_and(|ip| glob_matches(glob, &ip.to_string()))
            }
        }
    }
}

fn rootless(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// Whether `text` is covered by `glob`, in time linear in their product and without recursion.
fn glob_matches(glob: &str, text: &str) -> bool {
    let (glob, text) = (glob.as_bytes(), text.as_bytes());
    let (mut at, mut pos) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while pos < text.len() {
        match glob.get(at) {
            Some(b'*') => {
                retry = Some((at + 1, pos));
                at += 1;
            }
            Some(&want) if want == b'?' || Some(&want) == text.get(pos) => {
                at += 1;
                pos += 1;
            }
            _ => match retry {
                Some((after, from)) => {
                    retry = Some((after, from + 1));
                    at = after;
                    pos = from + 1;
                }
                None => return false,
            },
        }
    }
    glob.iter().skip(at).all(|byte| *byte == b'*')
}

impl FromStr for HostPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.contains('/') {
            return text
                .parse::<IpNet>()
                .map(|net| Self(Kind::Network(net.trunc())))
                .map_err(|_| PatternError::BadNetwork);
        }
        if text.contains(['*', '?']) {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.*?:".contains(&byte);
            if !text.bytes().all(allowed) {
                return Err(PatternError::BadCharacter);
            }
            return Ok(Self(Kind::Glob(rootless(text).to_ascii_lowercase().into())));
        }
        if let Some(suffix) = text.strip_prefix('.') {
            Host::parse(suffix)?;
            return Ok(Self(Kind::Suffix(rootless(suffix).to_ascii_lowercase().into())));
        }
        Ok(Self(Kind::Exact(Host::parse(text)?)))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Exact(host) => host.fmt(f),
            Kind::Suffix(suffix) => write!(f, ".{suffix}"),
            Kind::Glob(glob) => f.write_str(glob),
            Kind::Network(network) => network.fmt(f),
        }
    }
}

/// The routes in order; the first that matches counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct RouteTable(Box<[RouteSpec]>);

impl RouteTable {
    pub(crate) fn new(routes: Vec<RouteSpec>) -> Self {
        Self(routes.into())
    }

    /// What the first matching route says, if one matches.
    pub(crate) fn action(&self, target: &Target) -> Option<&RouteAction> {
        let matching = |route: &&RouteSpec| route.hosts.iter().any(|pattern| pattern.matches(&target.host));
        self.0.iter().find(matching).map(|route| &route.action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, host: &str) -> bool {
        pattern
            .parse::<HostPattern>()
            .unwrap()
            .matches(&Host::parse(host).unwrap())
    }

    #[test]
    fn patterns_cover_what_their_table_says() {
        let cases: &[(&str, &str, bool)] = &[
            ("example.com", "example.com", true),
            ("EXAMPLE.com", "example.com.", true),
            ("example.com", "www.example.com", false),
            (".example.com", "example.com", true),
            (".example.com", "a.b.example.com", true),
            (".example.com", "badexample.com", false),
            (".example.com.", "www.example.com", true),
            ("*.example.com", "www.example.com", true),
            ("*.example.com", "a.b.example.com.", true),
            ("*.example.com", "example.com", false),
            ("*.Example.com", "x.example.com", true),
            ("*.example.com", "example.com.evil.net", false),
            ("api-*.example.com", "api-1.example.com", true),
            ("api-?.example.com", "api-12.example.com", false),
            ("*", "anything.at.all", true),
            ("*", "10.1.2.3", true),
            ("*", "[2001:db8::1]", true),
            ("10.*", "10.1.2.3", true),
            ("10.*", "110.1.2.3", false),
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "[::ffff:10.0.0.1]", true),
            ("10.0.0.0/8", "ten.example.com", false),
            ("10.1.2.3/8", "10.9.9.9", true),
            ("2001:db8::/32", "[2001:db8:1::1]", true),
            ("2001:db8::/32", "10.0.0.1", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "[::ffff:127.0.0.1]", true),
            ("::1", "[::1]", true),
            ("[::1]", "[::2]", false),
            (".example.com", "10.0.0.1", false),
        ];
        for (pattern, host, expected) in cases {
            assert_eq!(matches(pattern, host), *expected, "{pattern} against {host}");
        }
    }

    #[test]
    fn texts_that_are_no_patterns_are_refused() {
        let cases = [
            ("", PatternError::Empty),
            ("10.0.0.0/33", PatternError::BadNetwork),
            ("example.com/8", PatternError::BadNetwork),
            ("*.exa mple.com", PatternError::BadCharacter),
            ("exa mple.com", PatternError::Host(AddressError::BadCharacter)),
            (".", PatternError::Host(AddressError::EmptyHost)),
            ("127.1", PatternError::Host(AddressError::NumericName)),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<HostPattern>(), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn the_first_route_that_matches_counts() {
        let route = |host: &str, action| RouteSpec {
            hosts: vec![host.parse().unwrap()],
            action,
        };
        let table = RouteTable::new(vec![
            route("secret.example.com", RouteAction::Reject),
            route("*.example.com", RouteAction::Direct),
            route("*", RouteAction::Corporate),
        ]);
        let action = |target: &str| table.action(&target.parse().unwrap()).cloned();
        assert_eq!(action("secret.example.com:443"), Some(RouteAction::Reject));
        assert_eq!(action("www.example.com:443"), Some(RouteAction::Direct));
        assert_eq!(action("example.com:443"), Some(RouteAction::Corporate));
        assert_eq!(RouteTable::default().action(&"a:1".parse().unwrap()), None);
    }

    /// The obvious way to match, slow but plainly right.
    fn reference(glob: &[u8], text: &[u8]) -> bool {
        match (glob.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => {
                reference(rest, text) || text.split_first().is_some_and(|(_, tail)| reference(glob, tail))
            }
            (Some((want, rest)), Some((got, tail))) => {
                (*want == b'?' || want == got) && reference(rest, tail)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn globs_agree_with_the_obvious_matcher(glob in "[ab.*?]{0,8}", text in "[ab.]{0,10}") {
            prop_assert_eq!(glob_matches(&glob, &text), reference(glob.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn no_text_panics_and_patterns_read_back(text in "\\PC{0,30}") {
            if let Ok(pattern) = text.parse::<HostPattern>() {
                prop_assert_eq!(pattern.to_string().parse::<HostPattern>().unwrap(), pattern);
            }
        }
    }
}
