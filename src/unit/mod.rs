//! Floor 1: unit text as values — parse, print, hash, names, specifiers, command lines, `[X-Fleet]`.
//!
//! Text follows go-systemd's parser, because fleet's hashes are made of what it reads; what the options mean
//! follows systemd (systemd.syntax, systemd.service, systemd.exec, systemd.unit, systemd.time).

pub mod command;
pub mod condition;
pub mod container;
pub mod environment;
pub mod file_condition;
pub mod health;
pub mod name;
pub mod notify;
pub mod placement;
pub mod register;
pub mod requirements;
pub mod service;
pub mod specifier;
pub mod text;
pub mod value;
mod words;

pub use command::Command;
pub use condition::Condition;
pub use file_condition::{FileCondition, FileTest};
pub use name::UnitName;
pub use placement::Placement;
pub use requirements::Requirements;
pub use specifier::Specifiers;
pub use text::{ParseError, UnitOption, UnitText};
