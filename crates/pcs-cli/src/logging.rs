//! Logs: flat JSON objects or text lines, to standard output or a rotated file.
//!
//! Lines are formatted where they happen, into a shared buffer, and written by one thread that wakes once a batch:
//! a busy server pays one wake-up for many lines, not one for each.

mod layer;
mod sink;
pub(crate) mod write;

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, bail};
use pcs_config::{LogFormat, LogRotation, LoggingConfig};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

pub(crate) use sink::{LogSink, LogWriter};

/// What a running process holds of its logs: dropping it writes out what is left.
pub(crate) struct Logs {
    sink: LogSink,
    format: LogFormat,
    filter: reload::Handle<Targets, Registry>,
    _writer: LogWriter,
}

impl std::fmt::Debug for Logs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logs")
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl Logs {
    /// Starts the writer and installs the process-wide subscriber. `directives` is `RUST_LOG`, which wins over
    /// the configured level.
    ///
    /// # Errors
    ///
    /// A log directory or file that cannot be made, a level that is none, or a second call in one process.
    pub(crate) fn install(settings: &LoggingConfig, directives: Option<&str>) -> anyhow::Result<Self> {
        let filter = filter(settings, directives)?;
        let (sink, writer) = LogWriter::start(output(settings)?).context("starting the log writer")?;
        let (filter, handle) = reload::Layer::new(filter);
        let colour = settings.file.is_none() && io::stdout().is_terminal();
        let layer = layer::LineLayer::new(sink.clone(), settings.format, colour);
        tracing_subscriber::registry()
            .with(layer.with_filter(filter))
            .try_init()
            .context("installing the logger")?;
        Ok(Self {
            sink,
            format: settings.format,
            filter: handle,
            _writer: writer,
        })
    }

    /// Where formatted lines go, for the access log, which formats its own.
    #[must_use]
    pub(crate) fn sink(&self) -> LogSink {
        self.sink.clone()
    }

    /// How lines are written.
    #[must_use]
    pub(crate) fn format(&self) -> LogFormat {
        self.format
    }

    /// Takes over a new level (reload).
    ///
    /// # Errors
    ///
    /// A level or `RUST_LOG` that cannot be read.
    pub(crate) fn set_level(&self, settings: &LoggingConfig, directives: Option<&str>) -> anyhow::Result<()> {
        self.filter
            .reload(filter(settings, directives)?)
            .context("changing the log level")
    }
}

fn filter(settings: &LoggingConfig, directives: Option<&str>) -> anyhow::Result<Targets> {
    match directives.filter(|text| !text.trim().is_empty()) {
        Some(text) => text
            .parse()
            .with_context(|| format!("RUST_LOG={text:?} is no list of target=level")),
        None => {
            let level: LevelFilter = settings
                .level
                .as_str()
                .parse()
                .with_context(|| format!("logging.level: {:?} is no level", settings.level.as_str()))?;
            Ok(Targets::new().with_default(level))
        }
    }
}

fn output(settings: &LoggingConfig) -> anyhow::Result<Box<dyn Write + Send>> {
    let Some(file) = &settings.file else {
        return Ok(Box::new(io::stdout()));
    };
    let directory = file
        .parent()
        .filter(|path| !path.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    std::fs::create_dir_all(directory).with_context(|| {
        format!(
            "logging.file: the directory {} cannot be created",
            directory.display()
        )
    })?;
    let Some(name) = file.file_name().and_then(|name| name.to_str()) else {
        bail!("logging.file: {} names no file", file.display());
    };
    let appender = tracing_appender::rolling::Builder::new()
        .rotation(match settings.rotation {
            LogRotation::Never => tracing_appender::rolling::Rotation::NEVER,
            LogRotation::Hourly => tracing_appender::rolling::Rotation::HOURLY,
            LogRotation::Daily => tracing_appender::rolling::Rotation::DAILY,
        })
        .filename_prefix(name)
        .max_log_files(settings.keep_files)
        .build(directory)
        .with_context(|| format!("logging.file: {} cannot be opened", file.display()))?;
    Ok(Box::new(appender))
}
