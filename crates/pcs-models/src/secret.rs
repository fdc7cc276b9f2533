//! Secrets that cannot be printed, serialised or compared in variable time.

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

/// A text that must not be seen: prints as `***`, has no serialisation, is wiped from memory with its last owner.
///
/// Cloning shares the one copy.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes the text over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Arc::new(Zeroizing::new(text)))
    }

    /// The text itself, for the one place that has to send it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Compares in a time that depends on the lengths only.
    #[must_use]
    pub fn matches(&self, other: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(other).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.0.as_bytes())
    }
}

impl Eq for Secret {}

/// Why a user name and password cannot be sent to a hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// RFC 7617 §2: the first colon ends the user name.
    #[error("a user name may not hold a colon")]
    ColonInUsername,
    /// RFC 7617 §2: control characters would end or forge a header line.
    #[error("a user name may not hold control characters such as CR or LF")]
    ControlInUsername,
    /// The same rule for the password.
    #[error("a password may not hold control characters such as CR or LF")]
    ControlInPassword,
    /// RFC 1929 §2 counts each in one byte.
    #[error("user name and password may have at most 255 bytes each")]
    TooLong,
}

/// A user name and its password, proven fit to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    username: Arc<str>,
    password: Secret,
}

impl Credentials {
    /// The place in a user name that a sticky session's id is put into.
    pub const SESSION_PLACEHOLDER: &'static str = "{session}";

    /// Proves the two.
    ///
    /// # Errors
    ///
    /// Says which of the two holds what it may not; the texts themselves are never part of the error.
    pub fn try_new(username: &str, password: Secret) -> Result<Self, CredentialsError> {
        if username.contains(':') {
            return Err(CredentialsError::ColonInUsername);
        }
        if username.chars().any(char::is_control) {
            return Err(CredentialsError::ControlInUsername);
        }
        if password.expose().chars().any(char::is_control) {
            return Err(CredentialsError::ControlInPassword);
        }
        if username.len() > 255 || password.expose().len() > 255 {
            return Err(CredentialsError::TooLong);
        }
        Ok(Self {
            username: username.into(),
            password,
        })
    }

    /// The user name, template and all.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The password.
    #[must_use]
    pub fn password(&self) -> &Secret {
        &self.password
    }

    /// Whether the user name has a place for a session id.
    #[must_use]
    pub fn is_session_template(&self) -> bool {
        self.username.contains(Self::SESSION_PLACEHOLDER)
    }

    /// The same credentials with `session` put into the user name's template.
    ///
    /// # Errors
    ///
    /// As [`Credentials::try_new`], for instance where the filled user name grows over 255 bytes.
    pub fn for_session(&self, session: &str) -> Result<Self, CredentialsError> {
        if !self.is_session_template() {
            return Ok(self.clone());
        }
        Self::try_new(
            &self.username.replace(Self::SESSION_PLACEHOLDER, session),
            self.password.clone(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_stars_wherever_it_stands() {
        let credentials = Credentials::try_new("user", Secret::new("hunter2".into())).unwrap();
        let shown = format!(
            "{credentials:?} {:?} {}",
            credentials.password(),
            credentials.password()
        );
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("***"), "{shown}");
    }

    #[test]
    fn secrets_are_equal_by_content() {
        assert_eq!(Secret::new("a".into()), Secret::new("a".into()));
        assert_ne!(Secret::new("a".into()), Secret::new("b".into()));
        assert_ne!(Secret::new("a".into()), Secret::new("aa".into()));
    }

    #[test]
    fn credentials_that_could_forge_a_header_are_refused() {
        let cases = [
            ("a:b", "p", CredentialsError::ColonInUsername),
            ("a\r\nX: y", "p", CredentialsError::ColonInUsername),
            ("a\nb", "p", CredentialsError::ControlInUsername),
            ("a", "p\r", CredentialsError::ControlInPassword),
        ];
        for (user, password, expected) in cases {
            assert_eq!(
                Credentials::try_new(user, Secret::new(password.into())),
                Err(expected),
                "{user:?}"
            );
        }
        let long = "x".repeat(256);
        assert_eq!(
            Credentials::try_new(&long, Secret::new(String::new())),
            Err(CredentialsError::TooLong)
        );
    }

    #[test]
    fn a_session_fills_the_template() {
        let credentials = Credentials::try_new("cust-sess-{session}-fr", Secret::new("p".into())).unwrap();
        assert_eq!(
            credentials.for_session("a1").unwrap().username(),
            "cust-sess-a1-fr"
        );
        assert_eq!(
            credentials.for_session("a:1"),
            Err(CredentialsError::ColonInUsername)
        );
    }
}
