//! The buffer that all lines go through and the thread that writes it out.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// The most bytes that wait to be written; whoever is over it waits for the disk rather than lose a line.
const MAX_PENDING: usize = 8 << 20;
/// How long lines gather before they are written.
const BATCH: Duration = Duration::from_millis(20);

struct Pending {
    lines: Vec<u8>,
    closing: bool,
}

struct Shared {
    pending: Mutex<Pending>,
    /// Somebody wrote into an empty buffer, or wants the thread to end.
    filled: Condvar,
    /// The thread took what was there.
    drained: Condvar,
}

/// Where formatted lines go. Cloning shares the one buffer.
#[derive(Clone)]
pub(crate) struct LogSink(Arc<Shared>);

impl std::fmt::Debug for LogSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogSink")
    }
}

impl LogSink {
    /// Takes one line, end of line included. Waits for the writer where 8 MiB are pending.
    pub(crate) fn write_line(&self, line: &[u8]) {
        let mut pending = self.0.pending.lock();
        while pending.lines.len() + line.len() > MAX_PENDING && !pending.lines.is_empty() && !pending.closing
        {
            self.0.drained.wait(&mut pending);
        }
        let was_empty = pending.lines.is_empty();
        pending.lines.extend_from_slice(line);
        drop(pending);
        if was_empty {
            self.0.filled.notify_one();
        }
    }
}

/// Owns the thread that writes; dropping it writes the rest and joins.
pub(crate) struct LogWriter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogWriter")
    }
}

impl LogWriter {
    /// Starts the thread over `output`.
    ///
    /// # Errors
    ///
    /// The operating system's, where no thread can be had.
    pub(crate) fn start(output: Box<dyn Write + Send>) -> io::Result<(LogSink, Self)> {
        let shared = Arc::new(Shared {
            pending: Mutex::new(Pending {
                lines: Vec::new(),
                closing: false,
            }),
            filled: Condvar::new(),
            drained: Condvar::new(),
        });
        let ours = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("pcs-log".to_owned())
            .spawn(move || write_out(&ours, output))?;
        Ok((
            LogSink(Arc::clone(&shared)),
            Self {
                shared,
                thread: Some(thread),
            },
        ))
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.shared.pending.lock().closing = true;
        self.shared.filled.notify_one();
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has nothing left to write.
            let _ = thread.join();
        }
    }
}

fn write_out(shared: &Shared, mut output: Box<dyn Write + Send>) {
    let mut taken = Vec::new();
    loop {
        let closing = {
            let mut pending = shared.pending.lock();
            while pending.lines.is_empty() && !pending.closing {
                shared.filled.wait(&mut pending);
            }
            pending.closing
        };
        if !closing {
            // Let a batch gather: no line waits longer than this for the disk.
            thread::sleep(BATCH);
        }
        std::mem::swap(&mut taken, &mut shared.pending.lock().lines);
        shared.drained.notify_all();
        // A log that cannot be written has nowhere to say so; serving goes on.
        let _ = output.write_all(&taken).and_then(|()| output.flush());
        let done = closing && shared.pending.lock().lines.is_empty();
        taken.clear();
        taken.shrink_to(64 << 10);
        if done {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Shelf(Arc<Mutex<Vec<u8>>>);

    impl Write for Shelf {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(buf);
            Ok(buf.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_is_there_once_the_writer_is_dropped() {
        let shelf = Shelf::default();
        let (sink, writer) = LogWriter::start(Box::new(shelf.clone())).unwrap();
        thread::scope(|scope| {
            for worker in 0..4 {
                let sink = sink.clone();
                scope.spawn(move || {
                    (0..500).for_each(|n| sink.write_line(format!("{worker}/{n}\n").as_bytes()));
                });
            }
        });
        drop(writer);
        let text = String::from_utf8(shelf.0.lock().clone()).unwrap();
        assert_eq!(text.lines().count(), 2000);
        for worker in 0..4 {
            let prefix = format!("{worker}/");
            let ours: Vec<_> = text
                .lines()
                .filter_map(|line| line.strip_prefix(&prefix))
                .collect();
            let expected: Vec<_> = (0..500).map(|n| n.to_string()).collect();
            assert_eq!(ours, expected, "lines of one writer stay whole and in order");
        }
    }

    #[test]
    fn a_writer_that_is_behind_holds_the_lines_back_instead_of_losing_them() {
        let shelf = Shelf::default();
        let (sink, writer) = LogWriter::start(Box::new(shelf.clone())).unwrap();
        let line = vec![b'x'; MAX_PENDING / 2 + 1];
        for _ in 0..4 {
            sink.write_line(&line);
        }
        drop(writer);
        assert_eq!(shelf.0.lock().len(), 4 * line.len());
    }
}
