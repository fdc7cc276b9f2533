//! Events to lines.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use jiff::Timestamp;
use pcs_config::LogFormat;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::LogSink;
use super::write::timestamp;

/// Writes each event as one line.
pub(super) struct LineLayer {
    sink: LogSink,
    format: LogFormat,
    colour: bool,
}

impl LineLayer {
    pub(super) fn new(sink: LogSink, format: LogFormat, colour: bool) -> Self {
        Self { sink, format, colour }
    }
}

impl<S: Subscriber> Layer<S> for LineLayer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        let line = match self.format {
            LogFormat::Json => json_line(level, &fields),
            LogFormat::Text => text_line(level, &fields, self.colour),
        };
        self.sink.write_line(&line);
    }
}

/// The fields of one event: its name, its sentence, and the rest as JSON values.
#[derive(Default)]
struct Fields {
    event: Option<String>,
    message: Option<String>,
    rest: Vec<(&'static str, serde_json::Value)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: serde_json::Value) {
        match (field.name(), value) {
            ("event", serde_json::Value::String(text)) => self.event = Some(text),
            ("message", serde_json::Value::String(text)) => self.message = Some(text),
            (name, value) => self.rest.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            // Writing into a String cannot fail.
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        self.put(field, text.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}

fn json_line(level: Level, fields: &Fields) -> Vec<u8> {
    let mut line = Vec::with_capacity(256);
    let event = fields.event.as_deref().unwrap_or("log");
    line.extend_from_slice(br#"{"timestamp":""#);
    timestamp(&mut line, Timestamp::now());
    // Writing into a Vec cannot fail.
    let _ = write!(line, r#"","level":"{level}","event":"#);
    json_value(&mut line, &event.into());
    let message = fields.message.as_deref().map(|text| ("message", text.into()));
    for (name, value) in message.iter().chain(&fields.rest) {
        line.push(b',');
        json_value(&mut line, &(*name).into());
        line.push(b':');
        json_value(&mut line, value);
    }
    line.extend_from_slice(b"}\n");
    line
}

fn json_value(line: &mut Vec<u8>, value: &serde_json::Value) {
    // A value made of texts and numbers always has a JSON form.
    let _ = serde_json::to_writer(line, value);
}

fn text_line(level: Level, fields: &Fields, colour: bool) -> Vec<u8> {
    let mut line = Vec::with_capacity(160);
    let (on, off) = match (colour, level) {
        (false, _) => ("", ""),
        (true, Level::ERROR) => ("\x1b[31m", "\x1b[0m"),
        (true, Level::WARN) => ("\x1b[33m", "\x1b[0m"),
        (true, Level::INFO) => ("\x1b[32m", "\x1b[0m"),
        (true, _) => ("\x1b[2m", "\x1b[0m"),
    };
    timestamp(&mut line, Timestamp::now());
    let _ = write!(line, " {on}{level:<5}{off}");
    if let Some(event) = &fields.event {
        let _ = write!(line, " {event}");
    }
    if let Some(message) = &fields.message {
        let _ = write!(line, " {}", printable(message));
    }
    for (name, value) in &fields.rest {
        match value {
            serde_json::Value::String(text) if is_bare(text) => {
                let _ = write!(line, " {name}={text}");
            }
            value => {
                let _ = write!(line, " {name}={value}");
            }
        }
    }
    line.push(b'\n');
    line
}

/// A text that needs no quotes to be one word.
fn is_bare(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"')
}

/// One line stays one line, and no text moves the reader's cursor.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        Fields {
            event: Some("listening".into()),
            message: Some("Two\nlines".into()),
            rest: vec![
                ("addr", "127.0.0.1:1".into()),
                ("note", "a \"b\"\n".into()),
                ("n", 3.into()),
            ],
        }
    }

    #[test]
    fn a_json_line_is_one_flat_object_that_reads_back() {
        let line = json_line(Level::INFO, &fields());
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let read: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(read["level"], "INFO");
        assert_eq!(read["event"], "listening");
        assert_eq!(read["message"], "Two\nlines");
        assert_eq!(read["note"], "a \"b\"\n");
        assert_eq!(read["n"], 3);
        assert!(read["timestamp"].as_str().unwrap().parse::<Timestamp>().is_ok());
    }

    #[test]
    fn a_text_line_stays_one_line() {
        let line = String::from_utf8(text_line(Level::WARN, &fields(), false)).unwrap();
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(
            line.ends_with(" WARN  listening Two lines addr=127.0.0.1:1 note=\"a \\\"b\\\"\\n\" n=3\n"),
            "{line}"
        );
    }
}
