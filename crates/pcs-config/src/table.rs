//! The grammar of the one table that describes every key.
//!
//! [`keys`](crate::keys) holds the table. Reading, unknown-key suggestions, the JSON Schema, the reference, the
//! commented default file and the masked dump all walk it; none of them knows a key by itself.

/// A group of keys.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) doc: &'static str,
    pub(crate) keys: &'static [Key],
}

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) default: Preset,
    pub(crate) doc: &'static str,
}

/// What a key is if nobody says.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Preset {
    /// It has to be there.
    Required,
    /// Nothing; the key's text says what that means.
    Unset,
    Flag(bool),
    Whole(u64),
    Seconds(f64),
    Text(&'static str),
    /// A list of texts.
    Texts(&'static [&'static str]),
    /// A list of whole numbers.
    Wholes(&'static [u64]),
    /// An empty list or map, or a section of defaults.
    Empty,
}

/// What a key may be.
#[derive(Debug)]
pub(crate) enum Kind {
    Flag,
    Whole {
        min: u64,
        max: u64,
    },
    /// A whole number from 0, or the word `auto`.
    WholeOrAuto {
        max: u64,
    },
    /// A number greater than 0.
    Number {
        max: f64,
    },
    /// A time in seconds, fractions allowed.
    Seconds {
        zero: bool,
        max: f64,
    },
    Text(Form),
    /// A text that is never shown.
    Secret,
    /// The URL of a proxy, never shown with its password.
    ProxyUrl,
    OneOf(&'static [&'static str]),
    List(&'static Self),
    /// A map with keys that the user names.
    Named {
        what: &'static str,
        value: &'static Self,
    },
    Section(&'static Section),
    /// A section in which every key falls back to the section of the same shape at the top.
    Overrides(&'static Section),
    /// A proxy's URL in place of a whole section.
    UrlOr(&'static Section),
}

/// What a text has to look like. The builder proves it; this says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Free,
    Host,
    Address,
    Network,
    HostPattern,
    File,
    TestUrl,
    UrlPath,
    ProxyId,
    PoolName,
}

impl Form {
    pub(crate) const fn allowed(self) -> &'static str {
        match self {
            Self::Free => "text",
            Self::Host => "host name or IP address",
            Self::Address => "IP address or `localhost`",
            Self::Network => "network such as `10.0.0.0/8`, or IP address",
            Self::HostPattern => {
                "host name with `*` for any characters, `.example.com` for a domain with all below it, \
                 network such as `10.0.0.0/8`, or IP address"
            }
            Self::File => "path of a file",
            Self::TestUrl => "`http://` or `https://` URL without user information",
            Self::UrlPath => "path that begins with `/`",
            Self::ProxyId => "proxy id: letters, digits and `._-:@~+`",
            Self::PoolName => "name of a pool",
        }
    }
}

/// The longest list that is read.
pub(crate) const MAX_LIST: usize = 100_000;

impl Kind {
    /// What is allowed, for messages and the reference.
    pub(crate) fn allowed(&self) -> String {
        match self {
            Self::Flag => "`true` or `false`".to_owned(),
            Self::Whole { min, max } => format!("whole number from {min} to {max}"),
            Self::WholeOrAuto { max } => format!("whole number from 0 to {max}, or `auto`"),
            Self::Number { max } => format!("number greater than 0, at most {max}"),
            Self::Seconds { zero: true, max } => format!("seconds from 0 to {max}, fractions allowed"),
            Self::Seconds { zero: false, max } => {
                format!("seconds from {MIN_SECONDS} to {max}, fractions allowed")
            }
            Self::Text(form) => form.allowed().to_owned(),
            Self::Secret => "text (never shown)".to_owned(),
            Self::ProxyUrl => "URL of a proxy, `[scheme://][user:password@]host[:port]`".to_owned(),
            Self::OneOf(names) => names
                .iter()
                .map(|name| format!("`{name}`"))
                .collect::<Vec<_>>()
                .join(", "),
            Self::List(item) => match item {
                Self::Section(_) => "list of maps".to_owned(),
                Self::UrlOr(_) => "list of maps or URLs of proxies".to_owned(),
                Self::OneOf(_) => format!("list of {}", item.allowed()),
                _ => format!("list, each: {}", item.allowed()),
            },
            Self::Named { what, value } => format!("map of {what} to {}", value.allowed()),
            Self::Section(_) | Self::Overrides(_) => "map".to_owned(),
            Self::UrlOr(_) => "map, or URL of a proxy".to_owned(),
        }
    }

    /// The section a value of this kind consists of, if it does.
    pub(crate) const fn section(&self) -> Option<&'static Section> {
        match self {
            Self::Section(section) | Self::Overrides(section) | Self::UrlOr(section) => Some(section),
            _ => None,
        }
    }

    /// Whether a value is a single scalar and nothing else.
    pub(crate) const fn is_scalar(&self) -> bool {
        matches!(
            self,
            Self::Flag
                | Self::Whole { .. }
                | Self::WholeOrAuto { .. }
                | Self::Number { .. }
                | Self::Seconds { .. }
                | Self::Text(_)
                | Self::Secret
                | Self::ProxyUrl
                | Self::OneOf(_)
        )
    }
}

/// The shortest time that is not zero: a millisecond.
pub(crate) const MIN_SECONDS: f64 = 0.001;

impl Section {
    /// The place of a key in the section.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.keys.iter().position(|key| key.name == name)
    }

    /// The kind at the end of a path through sections and named maps.
    pub(crate) fn kind_at(&'static self, path: &[String]) -> Option<&'static Kind> {
        let (first, rest) = path.split_first()?;
        let mut kind = &self.keys.get(self.position(first)?)?.kind;
        for segment in rest {
            kind = match kind {
                Kind::Named { value, .. } => value,
                _ => {
                    let section = kind.section()?;
                    &section.keys.get(section.position(segment)?)?.kind
                }
            };
        }
        Some(kind)
    }
}
