//! `${VAR}`, `${VAR:-default}`, `$<VAR>` and `$$` inside texts of the file.

/// The environment, as a lookup: the core reads no process state.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A text with its references filled in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expanded {
    pub(crate) text: String,
    /// Whether the text was one whole reference and nothing else: only then may it stand for a number.
    pub(crate) whole: bool,
    /// Whether any part came from the environment.
    pub(crate) referred: bool,
}

/// Why a text cannot be expanded. Holds the variable's name, never the text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ExpandError {
    /// The variable has no value and the reference no default.
    Unset(String),
    /// `${` or `$<` without its end.
    Unterminated(&'static str),
    /// What stands in the brackets is no variable's name.
    BadName(&'static str),
    /// A reference inside a default.
    Nested,
}

impl ExpandError {
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Unset(name) => {
                format!(
                    "the environment variable `{name}` is not set (set it, or write `${{{name}:-default}}`)"
                )
            }
            Self::Unterminated(open) => {
                format!("`{open}` begins a reference that does not end (write `$$` for a literal `$`)")
            }
            Self::BadName(open) => format!(
                "`{open}` must be followed by a variable's name: letters, digits and `_` (write `$$` for a literal `$`)"
            ),
            Self::Nested => {
                "a default may hold no further reference (write `$$` for a literal `$`)".to_owned()
            }
        }
    }
}

/// Fills in every reference, once: what comes out of the environment is not looked at again.
pub(crate) fn expand(text: &str, env: Lookup<'_>) -> Result<Expanded, ExpandError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let (mut whole, mut referred) = (false, false);
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some(tail) = after.strip_prefix('{') {
            let (inner, tail) = tail.split_once('}').ok_or(ExpandError::Unterminated("${"))?;
            let value = braced(inner, env)?;
            whole = !referred && before.is_empty() && out.is_empty() && tail.is_empty();
            referred = true;
            out.push_str(&value);
            rest = tail;
        } else if let Some(tail) = after.strip_prefix('<') {
            let (name, tail) = tail.split_once('>').ok_or(ExpandError::Unterminated("$<"))?;
            let value = lookup(name, "$<", env)?.ok_or_else(|| ExpandError::Unset(name.to_owned()))?;
            whole = !referred && before.is_empty() && out.is_empty() && tail.is_empty();
            referred = true;
            out.push_str(&value);
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    Ok(Expanded {
        text: out,
        whole,
        referred,
    })
}

fn braced(inner: &str, env: Lookup<'_>) -> Result<String, ExpandError> {
    match inner.split_once(":-") {
        None => lookup(inner, "${", env)?.ok_or_else(|| ExpandError::Unset(inner.to_owned())),
        Some((name, default)) => match lookup(name, "${", env)?.filter(|value| !value.is_empty()) {
            Some(value) => Ok(value),
            None => unescape(default),
        },
    }
}

fn lookup(name: &str, open: &'static str, env: Lookup<'_>) -> Result<Option<String>, ExpandError> {
    let starts_well = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let goes_on_well = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    // A name is echoed in errors; what is no name may be part of a secret and is not.
    if starts_well && goes_on_well {
        Ok(env(name))
    } else {
        Err(ExpandError::BadName(open))
    }
}

/// A default is a text of its own: `$$` is a `$` in it too.
fn unescape(default: &str) -> Result<String, ExpandError> {
    let literal = default.replace("$$", "");
    if literal.contains("${") || literal.contains("$<") {
        return Err(ExpandError::Nested);
    }
    Ok(default.replace("$$", "$"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "A" => Some("alpha".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICKY" => Some("${A}$$\n- x: [".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn references_are_filled_in_once() {
        let cases: &[(&str, &str, bool)] = &[
            ("", "", false),
            ("plain", "plain", false),
            ("${A}", "alpha", true),
            ("$<A>", "alpha", true),
            ("x${A}", "xalpha", false),
            ("${A}x", "alphax", false),
            ("${A}${A}", "alphaalpha", false),
            ("${EMPTY}${A}", "alpha", false),
            ("${EMPTY}", "", true),
            ("${NONE:-d}", "d", true),
            ("${NONE:-}", "", true),
            ("${EMPTY:-d}", "d", true),
            ("${A:-d}", "alpha", true),
            ("${NONE:-a:-b}", "a:-b", true),
            ("${NONE:-a$$b}", "a$b", true),
            ("$$", "$", false),
            ("$${A}", "${A}", false),
            ("$$$${A}", "$${A}", false),
            ("$$${A}", "$alpha", false),
            ("$A $1 $", "$A $1 $", false),
            ("pa$word", "pa$word", false),
            ("${TRICKY}", "${A}$$\n- x: [", true),
        ];
        for (text, expected, whole) in cases {
            let got = expand(text, &env).unwrap();
            assert_eq!((got.text.as_str(), got.whole), (*expected, *whole), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_filled_in_is_an_error() {
        let cases = [
            ("${NONE}", ExpandError::Unset("NONE".to_owned())),
            ("$<NONE>", ExpandError::Unset("NONE".to_owned())),
            ("a${", ExpandError::Unterminated("${")),
            ("a$<b", ExpandError::Unterminated("$<")),
            ("${}", ExpandError::BadName("${")),
            ("${1A}", ExpandError::BadName("${")),
            ("${A-b}", ExpandError::BadName("${")),
            ("$<A:-b>", ExpandError::BadName("$<")),
            ("${NONE:-${A}}", ExpandError::Nested),
        ];
        for (text, expected) in cases {
            assert_eq!(expand(text, &env), Err(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = expand(&text, &env);
        }

        #[test]
        fn a_text_without_dollars_is_itself(text in "[^$]{0,40}") {
            prop_assert_eq!(expand(&text, &env).unwrap().text, text);
        }

        #[test]
        fn a_value_comes_out_as_it_went_in(value in "\\PC{0,40}") {
            let got = expand("${V}", &|_| Some(value.clone())).unwrap();
            prop_assert_eq!(got.text, value);
        }

        #[test]
        fn doubled_dollars_are_any_text(text in "\\PC{0,40}") {
            let escaped = text.replace('$', "$$");
            prop_assert_eq!(expand(&escaped, &env).unwrap().text, text);
        }
    }
}
