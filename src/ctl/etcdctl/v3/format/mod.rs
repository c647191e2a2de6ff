//! `-w`: an answer in the formats of etcdctl 3.4 besides `simple`, byte for byte.
//!
//! `json` objects as Go's `encoding/json` writes them · `fields` a value a line · `answers` what each answer holds ·
//! `members` those that etcdctl puts together from several endpoints · `table` tables.

mod answers;
mod fields;
mod json;
mod members;
mod table;

use std::io::Write as _;

pub use fields::quoted;
pub use members::{Hash, Health, Status, member_row, took};
pub use table::table;

use super::{Context, Failed, exit};
use crate::ctl::args::Parsed;

/// What `-w` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Simple,
    Json,
    Fields,
    Table,
    Protobuf,
}

impl Format {
    /// # Errors
    /// A format that there is not.
    pub fn of(parsed: &Parsed) -> Result<Self, Failed> {
        Ok(match parsed.value("write-out") {
            None | Some("simple") => Self::Simple,
            Some("json") => Self::Json,
            Some("fields") => Self::Fields,
            Some("table") => Self::Table,
            Some("protobuf") => Self::Protobuf,
            Some(_) => return Err(Failed::with(exit::FEATURE, "unsupported output format")),
        })
    }

    /// The refusal to write something in this format.
    pub fn unsupported(self) -> Failed {
        let name = format!("{self:?}").to_lowercase();
        Failed::with(exit::FEATURE, format!("{name} not supported as output format"))
    }
}

/// What a command has to say, in each format; `None`: not in this one.
pub trait Answer {
    /// Without a newline behind it.
    fn json(&self) -> String;

    fn fields(&self) -> Option<String> {
        None
    }

    fn table(&self) -> Option<String> {
        None
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        None
    }
}

/// Writes an answer in the format that is asked for; whether it was written. `simple` is left to the command.
///
/// # Errors
/// The answer is not written in this format.
pub fn shown(context: &Context, answer: &impl Answer) -> Result<bool, Failed> {
    let unsupported = || context.format.unsupported();
    let text = match context.format {
        Format::Simple => return Ok(false),
        Format::Json => answer.json() + "\n",
        Format::Fields => answer.fields().ok_or_else(unsupported)?,
        Format::Table => answer.table().ok_or_else(unsupported)?,
        Format::Protobuf => return write(&answer.protobuf().ok_or_else(unsupported)?),
    };
    write(text.as_bytes())
}

/// The same; for `simple` a line of text.
///
/// # Errors
/// The answer is not written in this format.
pub fn told(context: &Context, answer: &impl Answer, simple: std::fmt::Arguments<'_>) -> Result<(), Failed> {
    if !shown(context, answer)? {
        println!("{simple}");
    }
    Ok(())
}

fn write(bytes: &[u8]) -> Result<bool, Failed> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map(|()| true).map_err(|error| Failed::usage(format!("writing: {error}")))
}
