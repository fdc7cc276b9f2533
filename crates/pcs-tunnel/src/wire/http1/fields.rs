//! Header fields of a head, borrowed from its bytes.

use std::str;

/// The fields of one head, in the order they came.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'h, 'b>(&'h [httparse::Header<'b>]);

impl<'h, 'b> Fields<'h, 'b> {
    pub(super) fn new(fields: &'h [httparse::Header<'b>]) -> Self {
        Self(fields)
    }

    /// Names and values; values have no white space around them (RFC 9110 §5.5).
    pub fn iter(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> + use<'h, 'b> {
        self.0.iter().map(|field| (field.name, field.value))
    }

    /// Every value of the fields called `name`, in any case.
    pub fn all<'n>(&self, name: &'n str) -> impl Iterator<Item = &'b [u8]> + use<'h, 'b, 'n> {
        self.0
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value)
    }

    /// The first value of `name`.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&'b [u8]> {
        self.all(name).next()
    }

    /// The first value of `name` as text, where it is UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&'b str> {
        self.first(name).and_then(|value| str::from_utf8(value).ok())
    }

    /// Whether any list element of the fields called `name` is `token`, in any case (RFC 9110 §5.6.1).
    #[must_use]
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .flat_map(tokens)
            .any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The elements of a comma-separated list, trimmed; empty ones are left out (RFC 9110 §5.6.1.2).
pub fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}
