//! Scalars by kind.

use pcs_models::Secret;

use super::{Filler, Value, article};
use crate::error::{ErrorKind, Place};
use crate::expand::expand;
use crate::node::{Scalar, ScalarType};
use crate::table::{Form, Kind, MIN_SECONDS};

/// The longest piece of a bad value that is shown.
const MAX_ECHO: usize = 40;

impl Filler<'_> {
    /// Reads a scalar as `kind` wants it. `optional` keys may be unset by an empty reference or the word `null`.
    pub(super) fn scalar(
        &mut self,
        kind: &'static Kind,
        optional: bool,
        scalar: &Scalar,
        place: &Place,
        path: &str,
    ) -> Value {
        let Some((text, ty)) = self.text(kind, scalar, place, path) else {
            return Value::Bad;
        };
        let is_secret = matches!(kind, Kind::Secret | Kind::ProxyUrl);
        if optional && !is_secret && ty == ScalarType::Any && matches!(text.as_str(), "" | "null" | "~") {
            return Value::Unset;
        }
        match read(kind, &text, ty) {
            Some(value) => value,
            None => {
                let allowed = kind.allowed();
                let message = match echo(kind, scalar) {
                    Some(shown) if is_quoted(kind, scalar, &text, ty) => {
                        format!(
                            "expected {}, found the text `{shown}`: leave the quotes out",
                            article(&allowed)
                        )
                    }
                    Some(shown) => format!("expected {}, found `{shown}`", article(&allowed)),
                    None => format!("expected {}", article(&allowed)),
                };
                self.findings.error(place, path, ErrorKind::Value, message);
                Value::Bad
            }
        }
    }

    /// The text after expansion, and what it may stand for.
    fn text(
        &mut self,
        kind: &Kind,
        scalar: &Scalar,
        place: &Place,
        path: &str,
    ) -> Option<(String, ScalarType)> {
        let is_secret = matches!(kind, Kind::Secret | Kind::ProxyUrl);
        if !scalar.expand {
            if is_secret && matches!(place, Place::File { .. }) {
                self.note_literal(kind, &scalar.text, place, path);
            }
            return Some((scalar.text.clone(), scalar.ty));
        }
        match expand(&scalar.text, self.env) {
            Ok(expanded) => {
                if is_secret && !expanded.referred {
                    self.note_literal(kind, &expanded.text, place, path);
                }
                Some((
                    expanded.text,
                    if expanded.whole {
                        ScalarType::Any
                    } else {
                        scalar.ty
                    },
                ))
            }
            Err(error) => {
                self.findings
                    .error(place, path, ErrorKind::Expansion, error.message());
                None
            }
        }
    }

    fn note_literal(&mut self, kind: &Kind, text: &str, place: &Place, path: &str) {
        let holds_password = match kind {
            Kind::ProxyUrl => text
                .rsplit_once('@')
                .is_some_and(|(head, _)| head.matches(':').count() >= 1),
            _ => !text.is_empty(),
        };
        if holds_password {
            self.literal_secrets.push((place.clone(), path.to_owned()));
        }
    }
}

/// Reads a text as `kind` wants it; `None` if it is something else.
fn read(kind: &Kind, text: &str, ty: ScalarType) -> Option<Value> {
    let is_number = matches!(ty, ScalarType::Number | ScalarType::Any);
    let is_word = matches!(ty, ScalarType::Text | ScalarType::Any);
    match kind {
        Kind::Flag => match text {
            _ if !matches!(ty, ScalarType::Bool | ScalarType::Any) => None,
            "true" | "True" | "TRUE" => Some(Value::Flag(true)),
            "false" | "False" | "FALSE" => Some(Value::Flag(false)),
            _ => None,
        },
        Kind::Whole { min, max } if is_number => whole(text)
            .filter(|number| (min..=max).contains(&number))
            .map(Value::Whole),
        Kind::WholeOrAuto { .. } if is_word && text == "auto" => Some(Value::Auto),
        Kind::WholeOrAuto { max } if is_number => {
            whole(text).filter(|number| number <= max).map(Value::Whole)
        }
        Kind::Number { max } if is_number => number(text)
            .filter(|number| *number > 0.0 && number <= max)
            .map(Value::Number),
        Kind::Seconds { zero, max } if is_number => {
            let fits = |seconds: &f64| (*zero && *seconds == 0.0) || (MIN_SECONDS..=*max).contains(seconds);
            number(text).filter(fits).map(Value::Seconds)
        }
        Kind::OneOf(names) => {
            // Names that are written in capitals (log levels) are found whatever their case.
            let found = names.iter().find(|name| **name == text).or_else(|| {
                let capitals = names
                    .iter()
                    .all(|name| name.bytes().all(|byte| byte.is_ascii_uppercase()));
                names
                    .iter()
                    .find(|name| capitals && name.eq_ignore_ascii_case(text))
            });
            found.map(|name| Value::Choice(name))
        }
        // Whatever YAML takes an unquoted scalar for, a text is a text: `12345`, `true`, `1e3`.
        Kind::Text(Form::Free) => Some(Value::Text(text.to_owned())),
        Kind::Text(_) => (!text.is_empty()).then(|| Value::Text(text.to_owned())),
        Kind::Secret => Some(Value::Secret(Secret::new(text.to_owned()))),
        Kind::ProxyUrl => Some(Value::Url(Secret::new(text.to_owned()))),
        _ => None,
    }
}

/// Whether only its quotes keep a text from being what `kind` wants.
fn is_quoted(kind: &Kind, scalar: &Scalar, text: &str, ty: ScalarType) -> bool {
    // A number that was put together from references would not be one without quotes either.
    ty == ScalarType::Text && text == scalar.text && read(kind, text, ScalarType::Any).is_some()
}

/// A whole number in decimal digits. `1.0` and `1e3` are numbers with fractions to YAML and are not taken.
fn whole(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// A decimal number; no infinity, no not-a-number.
fn number(text: &str) -> Option<f64> {
    let decimal = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    if decimal {
        text.parse().ok().filter(|number: &f64| number.is_finite())
    } else {
        None
    }
}

/// What of a bad value may be shown: the source text of keys that are no secret and no free text. What came out of
/// the environment is never shown.
fn echo(kind: &Kind, scalar: &Scalar) -> Option<String> {
    if matches!(kind, Kind::Secret | Kind::ProxyUrl | Kind::Text(_)) {
        return None;
    }
    let clean = scalar
        .text
        .chars()
        .map(|char| if char.is_control() { '?' } else { char });
    let mut shown: String = clean.clone().take(MAX_ECHO).collect();
    if scalar.text.chars().count() > MAX_ECHO {
        shown.push('…');
    }
    Some(shown)
}
