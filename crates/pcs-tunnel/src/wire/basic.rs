//! Basic credentials (RFC 7617).

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pcs_models::{Credentials, Secret};

/// The whole value of `Proxy-Authorization`: `Basic`, a space, and user name and password in base64.
///
/// Texts go as UTF-8 (RFC 7617 §2.1).
#[must_use]
pub fn basic(credentials: &Credentials) -> Secret {
    let user = credentials.username();
    let password = credentials.password().expose();
    // Wrapped as soon as it exists, so that the plain text is wiped as well.
    let plain = Secret::new(format!("{user}:{password}"));
    let room = plain
        .expose()
        .len()
        .div_ceil(3)
        .saturating_mul(4)
        .saturating_add(PREFIX.len());
    let mut value = String::with_capacity(room);
    value.push_str(PREFIX);
    STANDARD.encode_string(plain.expose(), &mut value);
    Secret::new(value)
}

const PREFIX: &str = "Basic ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        let credentials =
            |user, password: &str| Credentials::try_new(user, Secret::new(password.into())).unwrap();
        let value = basic(&credentials("Aladdin", "open sesame"));
        assert_eq!(value.expose(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(
            basic(&credentials("test", "123\u{a3}")).expose(),
            "Basic dGVzdDoxMjPCow=="
        );
        assert_eq!(basic(&credentials("", "")).expose(), "Basic Og==");
    }
}
