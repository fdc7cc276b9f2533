//! Proxies written as URLs, one a line.

use pcs_config::parse_proxy_url;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    text.lines().take(16).for_each(line);
}

fn line(text: &str) {
    let parts = match parse_proxy_url(text) {
        Ok(parts) => parts,
        Err(error) => {
            // No error holds a piece of the text: none of them holds more than their own words.
            assert!(!format!("{error}{error:?}").contains("hunter2"));
            return;
        }
    };
    assert_ne!(parts.endpoint.port, 0);
    let mut url = format!("{}://", parts.protocol);
    if let Some(known) = &parts.credentials {
        let (user, password) = (known.username(), known.password().expose());
        for part in [user, password] {
            assert!(
                part.len() <= 255 && !part.chars().any(char::is_control),
                "{user:?}"
            );
        }
        assert!(!user.contains(':'));
        let others = format!("{user} {}", parts.endpoint);
        if password.len() >= 8 && !others.contains(password) {
            assert!(!format!("{parts:?}").contains(password), "a password is shown");
        }
        let encode = |part| utf8_percent_encode(part, NON_ALPHANUMERIC);
        url += &format!("{}:{}@", encode(user), encode(password));
    }
    url += &parts.endpoint.to_string();
    let again = parse_proxy_url(&url);
    assert_eq!(again.as_ref(), Ok(&parts), "written anew it is another");
    assert!(parts.clone().into_hop().is_same_proxy(&parts.into_hop()));
}
