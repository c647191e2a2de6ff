//! The faces that call a node: parse, call, print. Each is chosen by argv[0] or by the first argument.

pub mod args;
mod authority;
mod backup;
mod certificates;
#[cfg(feature = "template")]
mod confd;
mod contact;
mod credentials;
mod dev;
mod doctor;
mod etcdctl;
mod export;
#[cfg(feature = "scheduler")]
mod fleetctl;
mod founding;
mod import;
mod kv;
mod login;
mod manual;
mod node_ctl;
mod recover;
mod restore;
#[cfg(feature = "scheduler")]
mod rollout;
#[cfg(feature = "scheduler")]
mod scheduling;
mod secret;
mod snapshot;
mod srv;
mod status;
#[cfg(feature = "template")]
mod templates;
#[cfg(feature = "scheduler")]
mod terminal;
mod tls;
mod token;
mod upgrade;
#[cfg(feature = "scheduler")]
mod work;

pub use crate::net::http;

/// Runs a face; `None`: there is none of that name in this binary. The exit codes are those of the tool that it stands for.
pub fn run(face: &str, arguments: &[String]) -> Option<u8> {
    let outcome = match face {
        "dev" => dev::run(arguments),
        "ctl" => node_ctl::run(arguments),
        "manual" => manual::run(arguments),
        "etcdctl" => return Some(etcdctl::run(arguments)),
        #[cfg(feature = "scheduler")]
        "fleetctl" => return Some(fleetctl::run(arguments)),
        #[cfg(feature = "template")]
        "confd" => return Some(confd::run(arguments)),
        _ => return None,
    };
    Some(outcome.unwrap_or_else(|error| {
        eprintln!("node {face}: {error:#}");
        1
    }))
}
