//! Proxies written as URLs: `http://user:password@host:port`.

use std::borrow::Cow;

use pcs_models::{
    AddressError, Credentials, CredentialsError, Endpoint, Hop, Host, Protocol, Secret, UnknownProtocol,
};
use percent_encoding::percent_decode_str;
use thiserror::Error;

/// Why a text is no proxy's URL. Never holds any of the text, which may be a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProxyUrlError {
    /// The part before `://` is no known protocol.
    #[error(transparent)]
    Scheme(#[from] UnknownProtocol),
    /// The host or port is wrong.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The user information cannot be sent.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// A percent-encoded text that is no UTF-8.
    #[error("the user information is no UTF-8 once percent-decoded")]
    NotUtf8,
    /// Something behind the port.
    #[error(
        "a proxy's URL ends with its port: no path, query or fragment (percent-encode `/`, `?`, `#` and `@` in passwords)"
    )]
    Path,
    /// The form that sellers of proxies hand out.
    #[error("`host:port:user:password` is written `http://user:password@host:port`")]
    Listed,
}

/// What a proxy's URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberParts {
    /// The protocol; `http` where the URL has no scheme.
    pub protocol: Protocol,
    /// Host and port; the protocol's default port where none is written.
    pub endpoint: Endpoint,
    /// User name and password, percent-decoded.
    pub credentials: Option<Credentials>,
}

impl MemberParts {
    /// The hop, named by its address.
    #[must_use]
    pub fn into_hop(self) -> Hop {
        let hop = Hop::new(self.protocol, self.endpoint);
        match self.credentials {
            Some(credentials) => hop.with_credentials(credentials),
            None => hop,
        }
    }
}

/// Reads `[scheme://][user[:password]@]host[:port][/]`; curl's schemes `socks4a` and `socks5h` are known too.
///
/// The last `@` ends the user information, so an `@` in a password need not be encoded.
///
/// # Errors
///
/// Says which part is wrong, without any of the text.
pub fn parse_proxy_url(text: &str) -> Result<MemberParts, ProxyUrlError> {
    let (protocol, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (scheme.parse()?, rest),
        None => (Protocol::Http, text),
    };
    let (user_info, authority) = match rest.rsplit_once('@') {
        Some((user_info, authority)) => (Some(user_info), authority),
        None => (None, rest),
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if authority.contains(['/', '?', '#']) {
        return Err(ProxyUrlError::Path);
    }
    if user_info.is_none() && is_listed(authority) {
        return Err(ProxyUrlError::Listed);
    }
    let endpoint = Endpoint::parse_with_default(authority, protocol.default_port())?;
    let credentials = user_info.map(parse_user_info).transpose()?;
    Ok(MemberParts {
        protocol,
        endpoint,
        credentials,
    })
}

/// Whether a text is `host:port:user:password`.
fn is_listed(text: &str) -> bool {
    let mut parts = text.splitn(4, ':');
    let (host, port) = (parts.next(), parts.next());
    let is_port = port.is_some_and(|port| port.parse().is_ok_and(|port: u16| port > 0));
    let is_host = host.is_some_and(|host| Host::parse(host).is_ok());
    let is_login = parts.next().is_some_and(|user| !user.is_empty()) && parts.next().is_some();
    is_host && is_port && is_login && text.parse::<std::net::Ipv6Addr>().is_err()
}

fn parse_user_info(text: &str) -> Result<Credentials, ProxyUrlError> {
    let (username, password) = text.split_once(':').unwrap_or((text, ""));
    let decode = |part| -> Result<Cow<'_, str>, ProxyUrlError> {
        percent_decode_str(part)
            .decode_utf8()
            .map_err(|_| ProxyUrlError::NotUtf8)
    };
    let password = Secret::new(decode(password)?.into_owned());
    Ok(Credentials::try_new(&decode(username)?, password)?)
}

/// The URL with its password masked, for the effective configuration; `***` if it cannot be read.
pub(crate) fn mask_url(text: &str) -> String {
    let Ok(parts) = parse_proxy_url(text) else {
        return "***".to_owned();
    };
    let user = parts.credentials.as_ref().map(|credentials| {
        let name = percent_encoding::utf8_percent_encode(credentials.username(), USER_INFO);
        if credentials.password().expose().is_empty() {
            format!("{name}@")
        } else {
            format!("{name}:***@")
        }
    });
    format!(
        "{}://{}{}",
        parts.protocol,
        user.unwrap_or_default(),
        parts.endpoint
    )
}

/// Characters that would end a user name in a URL. Braces stay, so that `{session}` is still seen.
const USER_INFO: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS
    .add(b'%')
    .add(b':')
    .add(b'@')
    .add(b'/')
    .add(b'?')
    .add(b'#')
    .add(b' ')
    .add(b'$');

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> Result<String, ProxyUrlError> {
        parse_proxy_url(text).map(|parts| {
            let user = parts
                .credentials
                .as_ref()
                .map(|known| format!("{}|{}", known.username(), known.password().expose()));
            format!(
                "{} {} {}",
                parts.protocol,
                parts.endpoint,
                user.unwrap_or_default()
            )
        })
    }

    #[test]
    fn urls_are_read_or_refused() {
        let cases: &[(&str, Result<&str, ProxyUrlError>)] = &[
            ("http://user:pass@host:8080", Ok("http host:8080 user|pass")),
            ("host:8080", Ok("http host:8080 ")),
            ("host", Ok("http host:80 ")),
            ("https://host", Ok("https host:443 ")),
            ("socks5h://host/", Ok("socks5 host:1080 ")),
            ("SOCKS4A://10.0.0.1", Ok("socks4 10.0.0.1:1080 ")),
            ("user:pass@[::1]:3128", Ok("http [::1]:3128 user|pass")),
            ("http://u%40x:p%3A%2f%25@h:1", Ok("http h:1 u@x|p:/%")),
            ("http://u:p@ss@h:1", Ok("http h:1 u|p@ss")),
            ("http://u:p:q@h:1", Ok("http h:1 u|p:q")),
            ("http://token@h:1", Ok("http h:1 token|")),
            ("http://u-{session}:p@h:1", Ok("http h:1 u-{session}|p")),
            ("http://u:100%@h:1", Ok("http h:1 u|100%")),
            ("ftp://h:1", Err(ProxyUrlError::Scheme(UnknownProtocol))),
            ("http://h:1/path", Err(ProxyUrlError::Path)),
            ("http://h:1?x", Err(ProxyUrlError::Path)),
            ("http://h:0", Err(ProxyUrlError::Address(AddressError::BadPort))),
            ("http://h:x", Err(ProxyUrlError::Address(AddressError::BadPort))),
            ("http://", Err(ProxyUrlError::Address(AddressError::EmptyHost))),
            ("", Err(ProxyUrlError::Address(AddressError::EmptyHost))),
            ("::1", Err(ProxyUrlError::Address(AddressError::Colon))),
            (
                "fe80:1:2:3:4:5:6:7",
                Err(ProxyUrlError::Address(AddressError::Colon)),
            ),
            ("h:1:user:pa:ss", Err(ProxyUrlError::Listed)),
            ("http://10.0.0.1:3128:user:pass", Err(ProxyUrlError::Listed)),
            ("h:1:2", Err(ProxyUrlError::Address(AddressError::Colon))),
            ("http://u:%ff@h:1", Err(ProxyUrlError::NotUtf8)),
            (
                "http://u%0d:p@h:1",
                Err(ProxyUrlError::Credentials(CredentialsError::ControlInUsername)),
            ),
            (
                "http://u%3Ax:p@h:1",
                Err(ProxyUrlError::Credentials(CredentialsError::ColonInUsername)),
            ),
            (
                "http://u:p%0A@h:1",
                Err(ProxyUrlError::Credentials(CredentialsError::ControlInPassword)),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(
                shown(text).as_deref().map_err(|error| *error),
                *expected,
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_no_error_holds_any_of_it(secret in "[a-z0-9]{12}", tail in "\\PC{0,20}") {
            let text = format!("http://user:{secret}{tail}");
            match parse_proxy_url(&text) {
                Ok(parts) => {
                    let seen = format!("{parts:?}");
                    // Without an `@` the text is a host, and hosts are shown.
                    prop_assert!(parts.credentials.is_none() || !seen.contains(&secret));
                    prop_assert!(parts.credentials.is_none() || !mask_url(&text).contains(&secret));
                }
                Err(error) => prop_assert!(!error.to_string().contains(&secret)),
            }
        }

        #[test]
        fn a_masked_url_reads_back_as_the_same_proxy(user in "\\PC{1,20}", password in "[a-z]{1,9}") {
            let encoded = percent_encoding::utf8_percent_encode(&user, percent_encoding::NON_ALPHANUMERIC);
            let text = format!("socks5://{encoded}:{password}@h:1");
            if let Ok(parts) = parse_proxy_url(&text) {
                let masked = mask_url(&text);
                let again = parse_proxy_url(&masked).unwrap();
                prop_assert!(again.into_hop().is_same_proxy(&parts.into_hop()), "{}", masked);
            }
        }
    }
}
