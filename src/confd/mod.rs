//! confd's resources as values: what to render from which keys, whether a file is in sync, and the function library.
//!
//! Follows confd 0.16 in its file formats, functions and log words; where it differs (`ls "/"`, `mode = "644"`, owner
//! and group names), the item that differs says so. Nothing here touches a file, a clock or a network: facts from
//! outside come through [`Outside`].

mod duration;
mod elements;
mod fields;
mod flatten;
mod format;
mod functions;
mod json;
mod layout;
mod md5;
mod mode;
mod pass;
pub mod path;
mod render;
mod resource;
mod select;
mod status;
mod time;
mod unified;
mod view;
mod when;

pub use elements::{Element, Written, elements, fixed_folder};
pub use flatten::{Unreadable, flatten};
pub use format::{Format, Malformed};
pub use functions::{Outside, SrvRecord};
pub use md5::{Md5, md5};
pub use mode::show_mode;
pub use pass::{DestFacts, Verdict, Wanted, compare};
pub use render::{Rendered, SourceTemplate, command_line, quoted, reload_line};
pub use resource::{Identity, JsonNumbers, Mistake, OnMissing, Reload, Rendering, Resource, parse_resources};
pub use select::{PrefixMode, Selection, cover, effective_prefix, range_of};
pub use status::{
    CAUSES_TOLD_MAX, Change, Lookup, State, Status, Steps, Trouble, status_key, status_prefix, turn_prefix,
};
pub use unified::unified_diff;
pub use view::{Read, Reads, Shortest, View};
pub use when::{Debounce, reload_in};
