//! Names people give to things: proxies, pools, sessions, hops.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// Why a text cannot be a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing there.
    #[error("the name is empty")]
    Empty,
    /// Longer than 128 bytes.
    #[error("the name is longer than 128 characters")]
    TooLong,
    /// Names stand in URLs, headers and metric labels, so their alphabet is small.
    #[error(
        "the name holds a character that is not allowed (letters, digits, `.`, `_`, `-`, `:`, `@`, `~`, `+`)"
    )]
    BadCharacter,
    /// `corporate`, `target` and names that begin with `_` have a meaning of their own in answers and metrics.
    #[error("the name is reserved (`corporate`, `target`, and names that begin with `_`)")]
    Reserved,
}

fn check(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > 128 {
        return Err(NameError::TooLong);
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:@~+".contains(&byte);
    if text.bytes().all(allowed) {
        Ok(())
    } else {
        Err(NameError::BadCharacter)
    }
}

fn check_unreserved(text: &str) -> Result<(), NameError> {
    check(text)?;
    if text.starts_with('_') || text == "corporate" || text == "target" {
        return Err(NameError::Reserved);
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Proves a text to be a name.
            ///
            /// # Errors
            ///
            /// Says which rule the text breaks.
            pub fn try_new(text: &str) -> Result<Self, NameError> {
                $check(text)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::try_new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// The id of one rotating proxy, unique in its process.
    ProxyId, check_unreserved
}

name! {
    /// The name of a pool of rotating proxies.
    PoolName, check_unreserved
}

name! {
    /// A client's sticky session.
    SessionId, check
}

impl PoolName {
    /// The text of the pool that the `rotation` section of the configuration describes.
    pub const DEFAULT: &'static str = "default";
}

impl Default for PoolName {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

/// What a hop is called in errors, answers and logs: `corporate`, a proxy's id, or its address.
#[derive(Clone)]
pub struct HopName(HopText);

/// The two fixed names are in every dial's account, so they cost no memory.
#[derive(Clone)]
enum HopText {
    Fixed(&'static str),
    Own(Arc<str>),
}

impl HopName {
    /// The corporate proxy.
    pub const CORPORATE: &'static str = "corporate";
    /// The end of the chain, where the client wants to go.
    pub const TARGET: &'static str = "target";

    /// The name of the corporate proxy.
    #[must_use]
    pub const fn corporate() -> Self {
        Self(HopText::Fixed(Self::CORPORATE))
    }

    /// The name of the target.
    #[must_use]
    pub const fn target() -> Self {
        Self(HopText::Fixed(Self::TARGET))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            HopText::Fixed(text) => text,
            HopText::Own(text) => text,
        }
    }
}

impl PartialEq for HopName {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for HopName {}

impl From<&ProxyId> for HopName {
    fn from(id: &ProxyId) -> Self {
        Self(HopText::Own(id.0.clone()))
    }
}

impl From<&crate::Endpoint> for HopName {
    fn from(endpoint: &crate::Endpoint) -> Self {
        Self(HopText::Own(endpoint.to_string().into()))
    }
}

impl fmt::Display for HopName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for HopName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_proven() {
        assert_eq!(ProxyId::try_new("proxy-fr-1").unwrap().as_str(), "proxy-fr-1");
        assert_eq!(ProxyId::try_new(""), Err(NameError::Empty));
        assert_eq!(ProxyId::try_new("a b"), Err(NameError::BadCharacter));
        assert_eq!(ProxyId::try_new("a\"b"), Err(NameError::BadCharacter));
        assert_eq!(ProxyId::try_new("a/b"), Err(NameError::BadCharacter));
        assert_eq!(ProxyId::try_new(&"a".repeat(129)), Err(NameError::TooLong));
        for reserved in ["corporate", "target", "_other"] {
            assert_eq!(ProxyId::try_new(reserved), Err(NameError::Reserved), "{reserved}");
        }
        assert!(
            SessionId::try_new("_s").is_ok(),
            "sessions have no reserved names"
        );
    }
}
