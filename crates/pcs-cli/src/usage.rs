//! The command line as it was typed: what is wrong with it is told without the passwords in it, with status 2.

use std::borrow::Cow;
use std::fmt;
use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::complain;

/// An argument that cannot be followed: the process ends with status 2.
#[derive(Debug)]
pub(crate) struct Usage(String);

impl Usage {
    pub(crate) fn error(text: impl Into<String>) -> anyhow::Error {
        Self(text.into()).into()
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Where the user information of a URL is: behind the scheme, up to the last `@`.
fn user_info(url: &str) -> Option<std::ops::Range<usize>> {
    let end = url.rfind('@')?;
    let before = url.get(..end)?;
    let is_scheme = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    let begin = match before.split_once("://") {
        Some((scheme, _)) if is_scheme(scheme) => scheme.len().saturating_add(3),
        _ => 0,
    };
    Some(begin..end)
}

/// A URL that somebody typed, for a message: user name and password are left out.
pub(crate) fn masked(url: &str) -> Cow<'_, str> {
    match user_info(url) {
        Some(range) => {
            let mut text = url.to_owned();
            text.replace_range(range, "***");
            Cow::Owned(text)
        }
        None => Cow::Borrowed(url),
    }
}

/// Takes the user information of each argument out of a message that repeats some of them.
fn without_secrets(message: &str, arguments: &[String]) -> Option<String> {
    let mut text = message.to_owned();
    for argument in arguments {
        // `--option=URL` is repeated as a whole or by its halves.
        let value = argument
            .strip_prefix("--")
            .and_then(|option| option.split_once('='))
            .map_or(argument.as_str(), |(_, value)| value);
        let secret = user_info(value).and_then(|range| value.get(range));
        if let Some(secret) = secret.filter(|secret| !secret.is_empty()) {
            text = text.replace(&format!("{secret}@"), "***@");
        }
    }
    (text != message).then_some(text)
}

/// Reads the command line of this process.
///
/// # Errors
///
/// How the process should end, all said: 0 after `--help` and `--version`, 2 after a line that cannot be read.
pub fn parse() -> Result<Cli, ExitCode> {
    Cli::try_parse().map_err(|error| {
        let arguments: Vec<String> = std::env::args_os()
            .skip(1)
            .map(|argument| argument.to_string_lossy().into_owned())
            .collect();
        let misplaced = error.kind() == clap::error::ErrorKind::ArgumentConflict
            && error.render().to_string().contains("subcommand");
        match without_secrets(&error.render().to_string(), &arguments) {
            Some(text) => complain(text.trim_end()),
            // A closed output is nobody's to hear about.
            None => _ = error.print(),
        }
        if misplaced {
            complain("\nOptions stand behind the sub-command: `pcs check --config FILE`.");
        }
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_information_is_left_out() {
        let cases = [
            ("http://h:1/x", "http://h:1/x"),
            ("http://bob:SECRET@h:1/", "http://***@h:1/"),
            ("http://bob:SE@CR@ET@h:1/", "http://***@h:1/"),
            ("bob:SECRET@h:1", "***@h:1"),
            ("bob:SECRET@h://x", "***@h://x"),
            ("bob:SEC://RET@h", "***@h"),
        ];
        for (url, shown) in cases {
            assert_eq!(masked(url), shown);
        }
    }

    #[test]
    fn a_message_repeats_no_password() {
        for argument in ["http://bob:SECRET@h:1", "--upstraem=http://bob:SECRET@h:1"] {
            let message = format!("unexpected argument '{argument}' found, value http://bob:SECRET@h:1");
            let shown = without_secrets(&message, &[argument.to_owned()]).unwrap();
            assert!(!shown.contains("SECRET") && shown.contains("***@h:1"), "{shown}");
        }
        assert_eq!(without_secrets("nothing to hide", &["x".to_owned()]), None);
    }
}
