//! confd's log lines on standard error: time, host, program and process, level, message.

use std::fmt;
use std::sync::LazyLock;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// What stands between the time and the level of each line.
static ORIGIN: LazyLock<String> = LazyLock::new(|| {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let program = std::env::args().next().filter(|name| name.ends_with("confd")).unwrap_or_else(|| "confd".to_owned());
    format!("{host} {program}[{}]", std::process::id())
});

/// From which level on lines are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogLevel {
    Fatal,
    Error,
    Warn,
    Info,
    Debug,
}

impl LogLevel {
    /// By its name on the command line; "" is the default.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "panic" | "fatal" => Self::Fatal,
            "error" => Self::Error,
            "warn" | "warning" => Self::Warn,
            "" | "info" => Self::Info,
            "debug" => Self::Debug,
            _ => return None,
        })
    }
}

/// Sends what this program has to say to standard error.
pub(super) fn start(level: LogLevel) {
    let own = module_path!().split("::").next().unwrap_or_default();
    let level = match level {
        LogLevel::Fatal => "off",
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    };
    let filter = EnvFilter::new(format!("off,{own}={level}"));
    // An error means that somebody listens already.
    let _ =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).event_format(Lines).try_init();
}

/// Writes one line past the filter.
pub(super) fn line(level: &str, message: &str) {
    eprintln!("{} {}: {level} {message}", now(), *ORIGIN);
}

fn now() -> String {
    let now = jiff::Zoned::now();
    let zone = if now.offset().is_zero() { "Z".to_owned() } else { now.strftime("%:z").to_string() };
    format!("{}{zone}", now.strftime("%Y-%m-%dT%H:%M:%S"))
}

struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARNING",
            Level::INFO => "INFO",
            _ => "DEBUG",
        };
        let mut message = Message::default();
        event.record(&mut message);
        writeln!(writer, "{} {}: {level} {}", now(), *ORIGIN, message.0)
    }
}

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
