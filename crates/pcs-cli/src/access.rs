//! The access log: one line per request, formatted where the request ends.
//!
//! It does not go through `tracing`, because every field of the contract is there in every line, `null` where it
//! says nothing, and because one line per tunnel is on the hot path.

use std::cell::RefCell;
use std::io::Write as _;

use jiff::Timestamp;
use pcs_config::LogFormat;
use pcs_server::{AccessRecord, RequestKind, Subject};
use tracing::Level;

use crate::logging::LogSink;
use crate::logging::write::{address, integer, millis, timestamp};

thread_local! {
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes access lines to the log.
#[derive(Debug)]
pub(crate) struct AccessLog {
    sink: LogSink,
    format: LogFormat,
}

impl AccessLog {
    pub(crate) fn new(sink: LogSink, format: LogFormat) -> Self {
        Self { sink, format }
    }

    /// Writes the line of one finished request, where INFO is written at all. Answers of PCS about itself
    /// (`/health`) are a matter of DEBUG: a probe a second would drown the rest.
    pub(crate) fn write(&self, record: &AccessRecord<'_>) {
        let quiet = record.kind == RequestKind::Local && record.status < 400;
        let (enabled, level) = if quiet {
            (
                tracing::enabled!(target: "pcs::access", Level::DEBUG),
                Level::DEBUG,
            )
        } else {
            (tracing::enabled!(target: "pcs::access", Level::INFO), Level::INFO)
        };
        if !enabled {
            return;
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            match self.format {
                LogFormat::Json => json(line, level, record),
                LogFormat::Text => text(line, level, record),
            }
            self.sink.write_line(line);
        });
    }
}

/// Writing into a `Vec` cannot fail, so the results below are dropped.
fn json(line: &mut Vec<u8>, level: Level, record: &AccessRecord<'_>) {
    line.extend_from_slice(br#"{"timestamp":""#);
    timestamp(line, Timestamp::now());
    line.extend_from_slice(br#"","level":""#);
    line.extend_from_slice(level.as_str().as_bytes());
    line.extend_from_slice(br#"","event":"access","request_id":""#);
    record.request_id.append_to(line);
    line.extend_from_slice(br#"","client":""#);
    address(line, record.client);
    line.extend_from_slice(br#"","method":"#);
    string(line, record.method);
    line.extend_from_slice(br#","target":"#);
    match &record.target {
        Some(target) => subject(line, target),
        None => line.extend_from_slice(b"null"),
    }
    line.extend_from_slice(br#","pool":"#);
    optional(line, record.pool);
    line.extend_from_slice(br#","proxy":"#);
    string(line, record.proxy);
    line.extend_from_slice(br#","attempts":"#);
    integer(line, record.attempts.into());
    line.extend_from_slice(br#","status":"#);
    integer(line, record.status.into());
    line.extend_from_slice(br#","connect_ms":"#);
    match record.connect {
        Some(connect) => millis(line, connect),
        None => line.extend_from_slice(b"null"),
    }
    line.extend_from_slice(br#","duration_ms":"#);
    millis(line, record.duration);
    line.extend_from_slice(br#","bytes_up":"#);
    integer(line, record.bytes_up);
    line.extend_from_slice(br#","bytes_down":"#);
    integer(line, record.bytes_down);
    line.extend_from_slice(br#","error":"#);
    optional(
        line,
        record
            .error
            .or_else(|| record.rejected.map(pcs_server::Rejection::as_str)),
    );
    line.extend_from_slice(b"}\n");
}

fn text(line: &mut Vec<u8>, level: Level, record: &AccessRecord<'_>) {
    let target = record
        .target
        .as_ref()
        .map_or_else(|| "-".to_owned(), ToString::to_string);
    timestamp(line, Timestamp::now());
    let _ = write!(
        line,
        " {level:<5} access {} {} {} {} -> {}",
        record.status,
        printable(record.method),
        printable(&target),
        record.client,
        record.proxy,
    );
    if let Some(pool) = record.pool {
        let _ = write!(line, " pool={pool}");
    }
    let _ = write!(line, " attempts={}", record.attempts);
    if let Some(connect) = record.connect {
        let _ = write!(line, " connect_ms={:.1}", connect.as_secs_f64() * 1000.0);
    }
    let _ = write!(
        line,
        " duration_ms={:.1} bytes_up={} bytes_down={}",
        record.duration.as_secs_f64() * 1000.0,
        record.bytes_up,
        record.bytes_down
    );
    if let Some(error) = record
        .error
        .or_else(|| record.rejected.map(pcs_server::Rejection::as_str))
    {
        let _ = write!(line, " error={error}");
    }
    let _ = writeln!(line, " request_id={}", record.request_id);
}

/// A JSON string; nearly all need no escape.
/// Writes what was asked for as a JSON string.
fn subject(line: &mut Vec<u8>, subject: &Subject<'_>) {
    line.push(b'"');
    let begin = line.len();
    subject.append_to(line);
    if line.get(begin..).is_some_and(is_plain) {
        line.push(b'"');
    } else {
        line.truncate(begin - 1);
        string(line, &subject.to_string());
    }
}

/// Whether JSON escapes nothing of it.
fn is_plain(text: &[u8]) -> bool {
    text.iter()
        .all(|byte| (b' '..=b'~').contains(byte) && *byte != b'"' && *byte != b'\\')
}

fn string(line: &mut Vec<u8>, text: &str) {
    if is_plain(text.as_bytes()) {
        line.push(b'"');
        line.extend_from_slice(text.as_bytes());
        line.push(b'"');
    } else {
        let _ = serde_json::to_writer(line, text);
    }
}

fn optional(line: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => string(line, text),
        None => line.extend_from_slice(b"null"),
    }
}

fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || c == ' ' { '?' } else { c })
        .collect()
}
