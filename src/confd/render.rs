//! A resource's template: parsed with the function library, executed over a view of the keys.

use super::elements::Element;
use super::functions::{self, Library, Outside};
use super::resource::Rendering;
use super::view::{Reads, Shortest, View};
use crate::gotemplate::{Budget, ExecError, Map, NoFunctions, ParseError, Template, Value, sprintf};

/// Longest command line, and longest quoted command output.
const COMMAND_BYTES_MAX: usize = 1 << 20;
/// Longest text that the function `quote` makes.
const QUOTED_BYTES_MAX: usize = 64 << 20;

/// A parsed template that may be executed again and again.
#[derive(Debug)]
pub struct SourceTemplate(Template);

/// What came of one execution. What was looked up is known in either case.
#[derive(Debug)]
pub struct Rendered {
    pub result: Result<Vec<u8>, ExecError>,
    pub reads: Reads,
    /// The key for want of which it failed.
    pub missing: Option<String>,
    /// The shortest list that was looked up.
    pub shortest: Option<Shortest>,
}

impl SourceTemplate {
    /// Parses a template. `name` is the file's own name; messages begin with it.
    ///
    /// # Errors
    /// Go's message with the line.
    pub fn parse(name: &str, text: &[u8]) -> Result<Self, ParseError> {
        Template::parse(name, text, &functions::is_known).map(Self)
    }

    /// Renders over `view`, with facts from `outside`. With an element, the template's `.name` and `.key` are its own.
    pub fn render(
        &self,
        view: &View,
        outside: &dyn Outside,
        rendering: Rendering,
        element: Option<&Element>,
    ) -> Rendered {
        let mut library = Library::new(view, outside, rendering);
        let data = match element {
            Some(element) => texts(&[("name", &element.name), ("key", &element.key)]),
            None => Value::Nil,
        };
        let result = self.0.execute(&data, &mut library, &Budget::default());
        let found = library.into_found();
        Rendered { result, reads: found.reads, missing: found.missing, shortest: found.shortest }
    }
}

/// A map of texts.
fn texts(names: &[(&str, &str)]) -> Value {
    Value::Map(Map::any(names.iter().map(|(name, value)| (*name, Value::from(*value)))))
}

/// A `check_cmd` with `{{.src}}` replaced by the staged file's path.
///
/// # Errors
/// Go's message where the command is no template, or refers to what is not there.
pub fn command_line(name: &str, text: &str, src: &str) -> Result<String, String> {
    named_line(name, text, &[("src", src)])
}

/// A line of text with `{{.NAME}}` of each of `names` replaced; `name` is the line's own, for messages.
///
/// # Errors
/// Go's message where the line is no template, or refers to what is not there.
pub(super) fn named_line(name: &str, text: &str, names: &[(&str, &str)]) -> Result<String, String> {
    let template = Template::parse(name, text, &|_| false).map_err(|error| error.to_string())?;
    let data = texts(names);
    let budget = Budget { output_bytes: COMMAND_BYTES_MAX, ..Budget::default() };
    let line = template.execute(&data, &mut NoFunctions, &budget).map_err(|error| error.to_string())?;
    String::from_utf8(line).map_err(|_| format!("{name}: the command is not UTF-8"))
}

/// A `reload_cmd` with `{{.src}}` and `{{.dest}}` replaced. The staged file has become `dest` by then, so both are that
/// file. A command with neither is taken as it is, as confd 0.16 does: its braces are another program's.
///
/// # Errors
/// Go's message where it is no template after all.
pub fn reload_line(text: &str, dest: &str) -> Result<String, String> {
    let named = |text: &str| {
        text.split("{{").skip(1).any(|part| {
            let inside = part.split("}}").next().unwrap_or_default();
            matches!(inside.trim_matches([' ', '-']), ".src" | ".dest")
        })
    };
    if named(text) { named_line("reloadcmd", text, &[("src", dest), ("dest", dest)]) } else { Ok(text.to_owned()) }
}

/// The text in quotes with Go's escapes.
///
/// # Errors
/// A text that is too long.
pub(super) fn go_quoted(bytes: &[u8]) -> Result<Vec<u8>, String> {
    sprintf(b"%q", &[Value::string(bytes)], QUOTED_BYTES_MAX).map_err(|error| error.to_string())
}

/// Bytes in quotes with Go's escapes, as `%q` prints them: how a command's output is logged.
pub fn quoted(bytes: &[u8]) -> String {
    let value = Value::string(bytes);
    match sprintf(b"%q", &[value], COMMAND_BYTES_MAX) {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) => format!("({error})"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_check_command_is_a_template() {
        let cases = [
            ("nginx -t -c {{.src}}", "nginx -t -c /tmp/.x1"),
            ("{{ .src }} {{.src}}", "/tmp/.x1 /tmp/.x1"),
            ("true", "true"),
        ];
        for (text, expected) in cases {
            assert_eq!(command_line("check_cmd", text, "/tmp/.x1").unwrap(), expected);
        }
        assert!(command_line("check_cmd", "{{.src", "/x").unwrap_err().contains("check_cmd:1"));
        assert!(command_line("check_cmd", "{{getv \"/a\"}}", "/x").is_err());
    }

    #[test]
    fn a_reload_command_may_name_the_file() {
        let cases = [
            ("systemctl reload nginx", "systemctl reload nginx"),
            ("cp {{.dest}} {{ .src }}.bak", "cp /etc/x /etc/x.bak"),
            ("load {{- .dest -}} ", "load/etc/x"),
            ("docker ps --format '{{.Names}}'", "docker ps --format '{{.Names}}'"),
            ("echo {{ unbalanced", "echo {{ unbalanced"),
        ];
        for (text, expected) in cases {
            assert_eq!(reload_line(text, "/etc/x").unwrap(), expected);
        }
        assert!(reload_line("{{.src}} {{if}}", "/x").unwrap_err().contains("reloadcmd:1"));
    }

    #[test]
    fn output_is_quoted_as_go_does() {
        assert_eq!(quoted(b"a \"b\"\n\xff"), r#""a \"b\"\n\xff""#);
    }
}
