//! `include`: another file of `templates/` rendered in the place of the call, with the same functions.

use super::Library;
use crate::confd::path;
use crate::confd::render::go_quoted;
use crate::gotemplate::{Budget, Template, Value};

/// How deep files may include one another; the fork's limit.
const DEPTH_MAX: usize = 10;
/// The most includes of one render: each has a budget of its own.
const INCLUDES_MAX: usize = 10_000;

/// The files that are being included, and how many have been.
#[derive(Debug, Default)]
pub(super) struct Includes {
    stack: Vec<String>,
    count: usize,
}

/// Renders a file with `data` as its `.`.
///
/// # Errors
/// The fork's texts: a place outside of `templates/`, a cycle, too deep a nesting, a file that is not there, and
/// whatever is wrong in it.
pub(super) fn include(library: &mut Library<'_>, name: &str, data: &Value) -> Result<Value, String> {
    let clean = path::clean(name.trim_start_matches('/'));
    if clean == "." || clean == ".." || clean.starts_with("../") {
        let quoted = go_quoted(name.as_bytes())?;
        return Err(format!("include path {} is outside template directory", String::from_utf8_lossy(&quoted)));
    }
    if library.includes.stack.contains(&clean) {
        return Err(format!("include cycle detected: {clean} is already being processed"));
    }
    if library.includes.stack.len() >= DEPTH_MAX {
        return Err(format!("maximum include depth ({DEPTH_MAX}) exceeded"));
    }
    library.includes.count += 1;
    if library.includes.count > INCLUDES_MAX {
        return Err(format!("more than {INCLUDES_MAX} includes in one render"));
    }
    let text = library.outside.template_file(&clean).map_err(|error| format!("include {name}: {error}"))?;
    let parsed = Template::parse(path::base(&clean), &text, &super::is_known);
    let template = parsed.map_err(|error| format!("parse include {name}: {error}"))?;
    library.includes.stack.push(clean);
    let rendered = template.execute(data, library, &Budget::default());
    library.includes.stack.pop();
    rendered.map(Value::string).map_err(|error| format!("execute include {name}: {error}"))
}
