//! The one module that speaks with the YAML library.
//!
//! The library gives values without places and, asked for texts, texts without types; so a document is read
//! twice: once for its shape and types, then along that shape for the source text and place of every key and
//! scalar. The place comes out of an error that is raised on purpose and swallowed, the only way the library
//! tells it. Duplicate keys are refused, merge keys are applied.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::error::{ConfigError, ErrorKind, Errors, Place};
use crate::node::{Entry, Node, Raw, Scalar, ScalarType, shown_key};

/// Reads a whole file. An empty one is an empty map.
pub(crate) fn parse_file(path: &Arc<str>, text: &str) -> Result<Node, Vec<ConfigError>> {
    let at = |line, column| Place::File {
        path: path.clone(),
        line,
        column,
    };
    parse(text, &at, true)
}

/// Reads the value of `--set` or an environment variable: no expansion, and the place is the whole of it.
pub(crate) fn parse_value(place: &Place, text: &str) -> Result<Node, Vec<ConfigError>> {
    parse(text, &|_, _| place.clone(), false)
}

type PlaceAt<'a> = &'a dyn Fn(u32, u32) -> Place;

fn parse(text: &str, at: PlaceAt<'_>, expand: bool) -> Result<Node, Vec<ConfigError>> {
    let fail = |place, message| {
        vec![ConfigError {
            place,
            key: String::new(),
            kind: ErrorKind::Unreadable,
            message,
        }]
    };
    // The library counts a byte order mark as a column.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let shape: Shape = serde_yaml::from_str(text).map_err(|error| {
        let (line, column) = error
            .location()
            .map_or((0, 0), |mark| (narrow(mark.line()), narrow(mark.column())));
        fail(at(line, column), syntax_message(&error))
    })?;
    let reader = Reader {
        text,
        at,
        expand,
        empties: Cell::new(0),
        duplicates: RefCell::default(),
    };
    if matches!(shape, Shape::Scalar(ScalarType::Null)) {
        return Ok(Node::null(at(0, 0)));
    }
    let mut node = reader
        .seed(&shape)
        .deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(|error| fail(at(0, 0), syntax_message(&error)))?;
    let duplicates = reader.duplicates.into_inner();
    if !duplicates.is_empty() {
        return Err(duplicates);
    }
    node.apply_merge()
        .map_err(|place| fail(place, "`<<` needs a map or a list of maps".to_owned()))?;
    Ok(node)
}

/// Writes a value as YAML.
pub(crate) fn write(value: &impl serde::Serialize) -> String {
    serde_yaml::to_string(value).expect("texts, numbers, lists and maps with text keys can be written")
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The library's message without its place. Its scanner and parser quote no content. Messages about content are
/// ours, and are told without the path that the library puts before them: a key in it may be a secret in the wrong
/// place, as the value is that the library quotes where it does not fit its tag (`!!int`).
fn syntax_message(error: &serde_yaml::Error) -> String {
    let text = error.to_string();
    let text = match text.rfind(" at line ").and_then(|end| text.get(..end)) {
        Some(head) => head,
        None => &text,
    };
    let text = match OURS.iter().find(|ours| text.ends_with(**ours)) {
        Some(ours) => ours,
        None if text.contains("invalid value: ") || text.contains("invalid type: ") => MISFIT,
        None => text.trim_start_matches(". : "),
    };
    format!("this is no YAML: {text}")
}

const TAGGED: &str = "YAML tags (`!name`) have no meaning here";
const NO_TEXT_KEY: &str = "a key has to be a text";
const NO_SCALAR: &str = "a scalar was expected";
const OURS: [&str; 3] = [TAGGED, NO_TEXT_KEY, NO_SCALAR];
const MISFIT: &str = "a value does not fit its tag (`!!name`)";

/// What a document consists of, without its content.
enum Shape {
    Scalar(ScalarType),
    List(Vec<Self>),
    Map(Vec<Self>),
}

impl<'de> de::Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ShapeVisitor(None).deserialize(deserializer)
    }
}

/// Reads the shape; where a number is given, only until that many empty lists and maps were passed: it fails at the
/// next one.
#[derive(Clone, Copy)]
struct ShapeVisitor<'c>(Option<&'c Cell<usize>>);

impl ShapeVisitor<'_> {
    fn empty<E: de::Error>(self) -> Result<(), E> {
        let Some(left) = self.0 else { return Ok(()) };
        match left.get().checked_sub(1) {
            Some(fewer) => {
                left.set(fewer);
                Ok(())
            }
            // The message is never shown.
            None => Err(E::custom("here")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for ShapeVisitor<'_> {
    type Value = Shape;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ShapeVisitor<'_> {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape::Scalar(ScalarType::Bool))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Shape, E> {
        Ok(Shape::Scalar(ScalarType::Number))
    }

    fn visit_i128<E>(self, _: i128) -> Result<Shape, E> {
        Ok(Shape::Scalar(ScalarType::Number))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Shape, E> {
        Ok(Shape::Scalar(ScalarType::Number))
    }

    fn visit_u128<E>(self, _: u128) -> Result<Shape, E> {
        Ok(Shape::Scalar(ScalarType::Number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Shape, E> {
        Ok(Shape::Scalar(ScalarType::Number))
    }

    fn visit_str<E>(self, _: &str) -> Result<Shape, E> {
        Ok(Shape::Scalar(ScalarType::Text))
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Scalar(ScalarType::Null))
    }

    fn visit_none<E>(self) -> Result<Shape, E> {
        Ok(Shape::Scalar(ScalarType::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Shape, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        if items.is_empty() {
            self.empty()?;
        }
        Ok(Shape::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Shape, A::Error> {
        let mut values = Vec::new();
        while let Some(KeyShape) = access.next_key()? {
            values.push(access.next_value_seed(self)?);
        }
        if values.is_empty() {
            self.empty()?;
        }
        Ok(Shape::Map(values))
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, _: A) -> Result<Shape, A::Error> {
        Err(de::Error::custom(TAGGED))
    }
}

/// A key has to be a scalar.
struct KeyShape;

impl<'de> de::Deserialize<'de> for KeyShape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Shape::deserialize(deserializer)? {
            Shape::Scalar(_) => Ok(Self),
            Shape::List(_) | Shape::Map(_) => Err(de::Error::custom(NO_TEXT_KEY)),
        }
    }
}

/// The second reading, for texts and places.
struct Reader<'a> {
    text: &'a str,
    at: PlaceAt<'a>,
    expand: bool,
    /// How many empty lists and maps were passed.
    empties: Cell<usize>,
    duplicates: RefCell<Vec<ConfigError>>,
}

impl<'a> Reader<'a> {
    const fn seed<'s>(&'s self, shape: &'s Shape) -> NodeSeed<'s, 'a> {
        NodeSeed { reader: self, shape }
    }

    fn pass_empty(&self) {
        self.empties.set(self.empties.get().saturating_add(1));
    }

    /// Where the empty list or map stands that has so many others before it. The library tells no place of one
    /// that goes well, so the document is read once more up to there; not for more of them than errors are told.
    fn place_of_empty(&self, before: usize) -> Place {
        let mut found = (0, 0);
        if before < Errors::MAX {
            let left = Cell::new(before);
            let document = serde_yaml::Deserializer::from_str(self.text);
            if let Err(error) = ShapeVisitor(Some(&left)).deserialize(document) {
                found = place_of(&error.to_string());
            }
        }
        (self.at)(found.0, found.1)
    }

    /// The text of a scalar and its place.
    fn scalar<'de, D: Deserializer<'de>>(&self, deserializer: D) -> Result<(String, Place), D::Error> {
        let mut text = None;
        let outcome = deserializer.deserialize_str(Capture(&mut text));
        let Err(error) = outcome else {
            return Err(de::Error::custom(NO_SCALAR));
        };
        let Some(text) = text else { return Err(error) };
        let (line, column) = place_of(&error.to_string());
        Ok((text, (self.at)(line, column)))
    }
}

/// Finds the place at the end of the library's message, `… at line 3 column 7`; it names none for the first byte.
fn place_of(message: &str) -> (u32, u32) {
    let read = || {
        let (_, place) = message.rsplit_once(" at line ")?;
        let (line, column) = place.split_once(" column ")?;
        Some((line.parse().ok()?, column.parse().ok()?))
    };
    read().unwrap_or((1, 1))
}

/// Takes the text out of a scalar and fails, so that the library tells the place.
struct Capture<'a>(&'a mut Option<String>);

impl Visitor<'_> for Capture<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scalar")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        *self.0 = Some(text.to_owned());
        // The message is never shown.
        Err(E::custom("here"))
    }
}

struct NodeSeed<'s, 'a> {
    reader: &'s Reader<'a>,
    shape: &'s Shape,
}

impl<'de> DeserializeSeed<'de> for NodeSeed<'_, '_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        match self.shape {
            Shape::Scalar(ty) => {
                let (text, place) = self.reader.scalar(deserializer)?;
                let expand = self.reader.expand && *ty == ScalarType::Text;
                Ok(Node {
                    place,
                    raw: Raw::Scalar(Scalar {
                        text,
                        ty: *ty,
                        expand,
                    }),
                })
            }
            Shape::List(items) => deserializer.deserialize_seq(ListVisitor {
                reader: self.reader,
                items,
            }),
            Shape::Map(values) => deserializer.deserialize_map(MapVisitor {
                reader: self.reader,
                values,
            }),
        }
    }
}

struct ListVisitor<'s, 'a> {
    reader: &'s Reader<'a>,
    items: &'s [Shape],
}

impl<'de> Visitor<'de> for ListVisitor<'_, '_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::with_capacity(self.items.len());
        for shape in self.items {
            let before = self.reader.empties.get();
            let node = access.next_element_seed(self.reader.seed(shape))?;
            nodes.extend(node.map(|mut node| {
                if matches!(node.place, Place::File { line: 0, .. }) {
                    node.place = self.reader.place_of_empty(before);
                }
                node
            }));
        }
        if self.items.is_empty() {
            self.reader.pass_empty();
        }
        while access.next_element::<IgnoredAny>()?.is_some() {}
        let place = nodes
            .first()
            .map_or_else(|| (self.reader.at)(0, 0), |node| node.place.clone());
        Ok(Node {
            place,
            raw: Raw::List(nodes),
        })
    }
}

struct MapVisitor<'s, 'a> {
    reader: &'s Reader<'a>,
    values: &'s [Shape],
}

impl<'de> Visitor<'de> for MapVisitor<'_, '_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries: Vec<Entry> = Vec::with_capacity(self.values.len());
        let mut seen = std::collections::BTreeMap::<String, Option<u32>>::new();
        for shape in self.values {
            let Some((key, place)) = access.next_key_seed(KeySeed(self.reader))? else {
                break;
            };
            let mut node = access.next_value_seed(self.reader.seed(shape))?;
            // An empty list or map has no place of its own.
            if matches!(node.place, Place::File { line: 0, .. }) {
                node.place = place.clone();
            }
            if let Some(first) = seen.insert(key.clone(), place.line()) {
                let shown = shown_key(&key);
                let message = match first {
                    Some(line) => format!("the key `{shown}` stands here twice, first in line {line}"),
                    None => format!("the key `{shown}` stands here twice"),
                };
                let error = ConfigError {
                    place: place.clone(),
                    key: String::new(),
                    kind: ErrorKind::Unreadable,
                    message,
                };
                self.reader.duplicates.borrow_mut().push(error);
                continue;
            }
            entries.push(Entry { key, place, node });
        }
        if self.values.is_empty() {
            self.reader.pass_empty();
        }
        while access.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        let place = entries
            .first()
            .map_or_else(|| (self.reader.at)(0, 0), |entry| entry.place.clone());
        Ok(Node {
            place,
            raw: Raw::Map(entries),
        })
    }
}

struct KeySeed<'s, 'a>(&'s Reader<'a>);

impl<'de> DeserializeSeed<'de> for KeySeed<'_, '_> {
    type Value = (String, Place);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.0.scalar(deserializer)
    }
}

#[cfg(test)]
mod tests;
