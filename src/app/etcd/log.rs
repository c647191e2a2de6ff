//! The log as etcd writes it: one JSON object a line, or etcd's console form, to wherever `--log-outputs` says.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::plan::LogPlan;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Console,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Stderr,
    Stdout,
    File(PathBuf),
}

/// Starts the log. Lines of this process begin to appear where the plan says.
///
/// # Errors
/// A file that cannot be written to.
pub fn start(plan: &LogPlan, level: &str) -> io::Result<()> {
    let mut outputs: Vec<Box<dyn Write + Send>> = Vec::new();
    for output in &plan.outputs {
        outputs.push(match output {
            Output::Stderr => Box::new(io::stderr()),
            Output::Stdout => Box::new(io::stdout()),
            Output::File(path) => Box::new(open(path)?),
        });
    }
    let outputs = Arc::new(Mutex::new(outputs));
    let filter = tracing_subscriber::EnvFilter::new(format!("{level},openraft=error,bollard=warn"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || Everywhere(outputs.clone()))
        .event_format(plan.format)
        .try_init();
    Ok(())
}

fn open(path: &PathBuf) -> io::Result<File> {
    let failed = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    File::options().create(true).append(true).open(path).map_err(failed)
}

struct Everywhere(Arc<Mutex<Vec<Box<dyn Write + Send>>>>);

impl Write for Everywhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut outputs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for output in outputs.iter_mut() {
            // One output that is full or gone does not silence the others.
            let _ = output.write_all(bytes).and_then(|()| output.flush());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let meta = event.metadata();
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
        let level = match *meta.level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            _ => "debug",
        };
        writeln!(writer, "{}", self.line(&time, level, &caller(meta.file(), meta.line()), fields))
    }
}

/// The last folder and the file, as etcd has it.
fn caller(file: Option<&str>, line: Option<u32>) -> String {
    let file = file.unwrap_or("?");
    let start = file.rmatch_indices('/').nth(1).map_or(0, |(at, _)| at + 1);
    format!("{}:{}", &file[start..], line.unwrap_or(0))
}

impl Format {
    fn line(self, time: &str, level: &str, caller: &str, fields: Fields) -> String {
        match self {
            Self::Json => {
                // In etcd's order, which a map would not keep.
                let mut line = String::new();
                for (name, value) in [("level", level), ("ts", time), ("caller", caller), ("msg", &fields.message)] {
                    let separator = if line.is_empty() { '{' } else { ',' };
                    let _ = write!(line, "{separator}\"{name}\":{}", Value::from(value));
                }
                for (name, value) in fields.others {
                    let _ = write!(line, ",{}:{value}", Value::from(name));
                }
                line.push('}');
                line
            }
            Self::Console => {
                let others = match fields.others.is_empty() {
                    true => String::new(),
                    false => format!("\t{}", Value::from(fields.others)),
                };
                format!("{time}\t{level}\t{caller}\t{}{others}", fields.message)
            }
        }
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            // `member_id` is written `member-id`.
            (name, value) => {
                self.others.insert(name.replace('_', "-"), value);
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::from(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_look_like_etcds() {
        let fields = || {
            let mut others = Map::new();
            others.insert("member-id".to_owned(), Value::from("8e9e"));
            Fields { message: "say \"hi\"".to_owned(), others }
        };
        let json = Format::Json.line("T", "info", "app/node.rs:1", fields());
        assert!(json.starts_with("{\"level\":\"info\",\"ts\":\"T\",\"caller\":"), "{json}");
        let read: Value = serde_json::from_str(&json).expect("one JSON object");
        assert_eq!((&read["msg"], &read["member-id"]), (&Value::from("say \"hi\""), &Value::from("8e9e")));
        let console = Format::Console.line("T", "info", "app/node.rs:1", fields());
        assert_eq!(console, "T\tinfo\tapp/node.rs:1\tsay \"hi\"\t{\"member-id\":\"8e9e\"}");
    }

    #[test]
    fn the_caller_is_the_last_folder_and_the_file() {
        for (file, expected) in
            [("src/app/etcd/log.rs", "etcd/log.rs:7"), ("log.rs", "log.rs:7"), ("a/b.rs", "a/b.rs:7")]
        {
            assert_eq!(caller(Some(file), Some(7)), expected);
        }
    }
}
