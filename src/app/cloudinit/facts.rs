//! What a plan needs to know of this machine, from its files and variables.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context as _;

use super::host::below;
use super::options::Options;
use crate::app::host::{default_route_ip, hostname};
use crate::cloudinit::{Addresses, Facts};

/// Looks at the machine, or at what is below another root.
///
/// # Errors
/// A file that is there and cannot be read.
pub fn gather(options: &Options) -> anyhow::Result<Facts> {
    let root = options.root.as_path();
    let text = |path: &str| read(root, path);
    let here = root == Path::new("/");
    let environment = text("/etc/environment")?.unwrap_or_default();
    let update_conf = match text("/etc/coreos/update.conf")? {
        Some(text) => text,
        None => text("/usr/share/coreos/update.conf")?.unwrap_or_default(),
    };
    Ok(Facts {
        hostname: if here { hostname() } else { text("/etc/hostname")?.unwrap_or_default().trim().to_owned() },
        machine_id: text("/etc/machine-id")?.unwrap_or_default().trim().to_owned(),
        addresses: addresses(options, &environment, here),
        environment,
        update_conf,
        ssh_key_name: options.ssh_key_name.clone(),
    })
}

/// A file's text; `None`: there is none.
fn read(root: &Path, path: &str) -> anyhow::Result<Option<String>> {
    match fs::read(below(root, Path::new(path))) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {path}")),
    }
}

fn addresses(options: &Options, environment: &str, here: bool) -> Addresses {
    let mut addresses = options.addresses.clone();
    for (name, given) in options.addresses.named() {
        let variable = format!("COREOS_{}", name.to_uppercase());
        let Some(address) = addresses.get_mut(name).filter(|_| given.is_empty()) else { continue };
        *address = match std::env::var(&variable) {
            Ok(value) if !value.is_empty() => value,
            _ => in_file(environment, &variable).to_owned(),
        };
        if address.is_empty() && here && name.ends_with("ipv4") {
            *address = default_route_ip();
        }
    }
    addresses
}

/// The value of a variable in an environment file; empty where there is none.
fn in_file<'a>(text: &'a str, variable: &str) -> &'a str {
    let value = text.lines().find_map(|line| line.strip_prefix(variable)?.strip_prefix('='));
    value.unwrap_or_default().trim().trim_matches(['"', '\''])
}
