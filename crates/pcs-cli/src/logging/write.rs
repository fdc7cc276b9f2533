//! The parts of a line that every line has, written without the machinery of formatting: one line a tunnel is on the
//! hot path.

use std::cell::Cell;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;

/// `2026-11-20T10:00:00`.
const STAMP: usize = 19;

thread_local! {
    /// The last second that this thread wrote, and its text: lines of one second share it.
    static SECOND: Cell<(i64, [u8; STAMP])> = const { Cell::new((i64::MIN, [0; STAMP])) };
}

/// The time in UTC with milliseconds (RFC 3339).
pub(crate) fn timestamp(line: &mut Vec<u8>, now: Timestamp) {
    let second = now.as_second();
    let (known, mut text) = SECOND.get();
    if known != second {
        let mut fresh = Vec::with_capacity(32);
        // Writing into a Vec cannot fail, here and below.
        let _ = write!(fresh, "{now:.0}");
        if let Some(stamp) = fresh.first_chunk::<STAMP>() {
            text = *stamp;
            SECOND.set((second, text));
        }
    }
    line.extend_from_slice(&text);
    line.push(b'.');
    thousandths(line, now.subsec_nanosecond().unsigned_abs() / 1_000_000);
    line.push(b'Z');
}

/// A whole number.
pub(crate) fn integer(line: &mut Vec<u8>, number: u64) {
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Milliseconds with three places.
pub(crate) fn millis(line: &mut Vec<u8>, duration: Duration) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    integer(line, micros / 1000);
    line.push(b'.');
    thousandths(line, u32::try_from(micros % 1000).unwrap_or_default());
}

/// Address and port.
pub(crate) fn address(line: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            for (at, octet) in ip.octets().into_iter().enumerate() {
                if at > 0 {
                    line.push(b'.');
                }
                integer(line, octet.into());
            }
            line.push(b':');
            integer(line, address.port().into());
        }
        IpAddr::V6(_) => _ = write!(line, "{address}"),
    }
}

/// Three digits of a number below a thousand.
fn thousandths(line: &mut Vec<u8>, number: u32) {
    for digit in [number / 100 % 10, number / 10 % 10, number % 10] {
        line.push(b'0' + u8::try_from(digit).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut line = Vec::new();
        write(&mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn times_are_those_of_the_calendar_whatever_was_written_before() {
        for text in [
            "2026-11-20T10:00:00.000Z",
            "2026-11-20T10:00:00.999Z",
            "2026-11-20T10:00:01.042Z",
            "1999-12-31T23:59:59.007Z",
            "2026-11-20T10:00:01.042Z",
        ] {
            let now: Timestamp = text.parse().unwrap();
            assert_eq!(written(|line| timestamp(line, now)), text);
            assert_eq!(format!("{now:.3}"), text);
        }
    }

    #[test]
    fn durations_have_three_places() {
        for (micros, text) in [
            (0, "0.000"),
            (7, "0.007"),
            (999, "0.999"),
            (1000, "1.000"),
            (61_000_042, "61000.042"),
        ] {
            let took = Duration::from_micros(micros);
            assert_eq!(written(|line| millis(line, took)), text);
        }
    }

    #[test]
    fn addresses_are_written_as_the_library_does() {
        for text in [
            "127.0.0.1:8888",
            "0.10.200.255:65535",
            "[::1]:1",
            "[fe80::1%3]:443",
        ] {
            let parsed: SocketAddr = text.parse().unwrap();
            assert_eq!(written(|line| address(line, parsed)), parsed.to_string());
        }
    }
}
