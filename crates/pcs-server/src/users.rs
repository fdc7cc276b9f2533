//! Who may use the proxy, and the parameters that clients write behind their user name.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use pcs_models::{Credentials, PoolName, Secret, SessionId};

/// The users of `server.auth`.
#[derive(Clone, PartialEq, Eq)]
pub struct Users(Arc<HashMap<Box<str>, Secret>>);

impl Users {
    /// The users that may pass; of two with one name the later counts.
    #[must_use]
    pub fn new(users: impl IntoIterator<Item = Credentials>) -> Self {
        let each = |user: Credentials| (user.username().into(), user.password().clone());
        Self(Arc::new(users.into_iter().map(each).collect()))
    }

    /// Whether there is such a user with this password. Takes as long for an unknown user as for a known one.
    #[must_use]
    pub fn admit(&self, username: &str, password: &[u8]) -> bool {
        match self.0.get(username) {
            Some(secret) => secret.matches(password),
            None => {
                // Compared with itself and thrown away: a wrong name must not answer sooner than a wrong password.
                let stand_in = Secret::new(String::from_utf8_lossy(password).into_owned());
                let _ = stand_in.matches(password);
                false
            }
        }
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Users").field(&self.0.len()).finish()
    }
}

/// What a client asks for about the way its request takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parameters {
    pub(crate) pool: Option<PoolName>,
    pub(crate) session: Option<SessionId>,
}

/// Why parameters cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParameterError {
    #[error("the session id is empty, longer than 128 characters, or holds a character that is not allowed")]
    Session,
    #[error("there is no pool of that name")]
    Pool,
}

impl Parameters {
    pub(crate) fn set_pool(&mut self, name: &str) -> Result<(), ParameterError> {
        self.pool = Some(PoolName::try_new(name).map_err(|_| ParameterError::Pool)?);
        Ok(())
    }

    pub(crate) fn set_session(&mut self, id: &str) -> Result<(), ParameterError> {
        self.session = Some(SessionId::try_new(id).map_err(|_| ParameterError::Session)?);
        Ok(())
    }
}

/// A login that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Login<'a> {
    /// What stands behind the user name, from its first marker on; empty without parameters.
    suffix: &'a str,
}

impl<'a> Login<'a> {
    /// Checks a user name and password. The whole name is tried first, then what stands before each marker, from
    /// the left. Without users everybody passes, and the first marker ends the name.
    pub(crate) fn check(users: Option<&Users>, username: &'a str, password: &[u8]) -> Option<Self> {
        let Some(users) = users else {
            return Some(Self {
                suffix: splits(username).next().map_or("", |(_, suffix)| suffix),
            });
        };
        if users.admit(username, password) {
            return Some(Self { suffix: "" });
        }
        splits(username)
            .take(MAX_SPLITS)
            .find(|(user, _)| users.admit(user, password))
            .map(|(_, suffix)| Self { suffix })
    }

    /// The parameters behind the name, in any order; of two of one kind the second is part of the first's value.
    pub(crate) fn parameters(self) -> Result<Parameters, ParameterError> {
        let mut parameters = Parameters::default();
        let mut rest = self.suffix;
        while let Some((marker, value)) = MARKERS
            .iter()
            .find_map(|m| rest.strip_prefix(m).map(|value| (*m, value)))
        {
            let other = if marker == SESSION { POOL } else { SESSION };
            let free = match other {
                POOL => parameters.pool.is_none(),
                _ => parameters.session.is_none(),
            };
            let end = if free { value.find(other) } else { None }.unwrap_or(value.len());
            let (text, behind) = value.split_at_checked(end).unwrap_or((value, ""));
            if marker == SESSION {
                parameters.set_session(text)?;
            } else {
                parameters.set_pool(text)?;
            }
            rest = behind;
        }
        Ok(parameters)
    }
}

/// Every way to part a user name in front of a marker, from the left.
fn splits(username: &str) -> impl Iterator<Item = (&str, &str)> {
    username
        .match_indices('-')
        .filter_map(|(at, _)| username.split_at_checked(at))
        .filter(|(user, suffix)| !user.is_empty() && MARKERS.iter().any(|marker| suffix.starts_with(marker)))
}

const SESSION: &str = "-session-";
const POOL: &str = "-pool-";
const MARKERS: [&str; 2] = [SESSION, POOL];

/// The most user names that one login is tried for.
const MAX_SPLITS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Users {
        let user = |name: &str| Credentials::try_new(name, Secret::new("pw".into())).unwrap();
        Users::new([user("bob"), user("bob-session-team"), user("a-pool-b")])
    }

    #[track_caller]
    fn check(users: Option<&Users>, name: &str, expected: Option<(Option<&str>, Option<&str>)>) {
        let got = Login::check(users, name, b"pw").map(|login| login.parameters().unwrap());
        let got = got.as_ref().map(|p| {
            (
                p.session.as_ref().map(SessionId::as_str),
                p.pool.as_ref().map(PoolName::as_str),
            )
        });
        assert_eq!(got, expected, "{name}");
    }

    #[test]
    fn parameters_follow_the_user_name_in_any_order() {
        check(None, "anybody", Some((None, None)));
        check(None, "", Some((None, None)));
        check(None, "u-session-s1", Some((Some("s1"), None)));
        check(None, "u-pool-eu", Some((None, Some("eu"))));
        check(
            None,
            "u-session-s-1-pool-eu-west",
            Some((Some("s-1"), Some("eu-west"))),
        );
        check(None, "u-pool-eu-session-s", Some((Some("s"), Some("eu"))));
        check(None, "u-session-a-session-b", Some((Some("a-session-b"), None)));
        check(None, "session-pool", Some((None, None)));
    }

    #[test]
    fn an_exact_user_comes_before_a_split_from_the_left() {
        let users = users();
        check(Some(&users), "bob", Some((None, None)));
        check(Some(&users), "bob-session-team", Some((None, None)));
        check(Some(&users), "bob-session-x", Some((Some("x"), None)));
        check(
            Some(&users),
            "bob-session-team-pool-eu",
            Some((Some("team"), Some("eu"))),
        );
        check(Some(&users), "a-pool-b-session-x", Some((Some("x"), None)));
        check(Some(&users), "eve-session-x", None);
        check(Some(&users), "eve", None);
        assert_eq!(Login::check(Some(&users), "bob", b"wrong"), None);
        assert_eq!(Login::check(Some(&users), "bob", b""), None);
    }

    #[test]
    fn parameters_that_are_no_names_are_refused() {
        let parameters = |name| Login::check(None, name, b"").unwrap().parameters();
        assert_eq!(parameters("u-session-"), Err(ParameterError::Session));
        assert_eq!(parameters("u-session-a b"), Err(ParameterError::Session));
        assert_eq!(parameters("u-pool-"), Err(ParameterError::Pool));
        assert_eq!(parameters("u-pool-_x"), Err(ParameterError::Pool));
    }

    #[test]
    fn users_do_not_print_their_secrets() {
        assert!(!format!("{:?}", users()).contains("pw"));
    }
}
