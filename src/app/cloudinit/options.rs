//! The command line of `node cloudinit`: `-x` is `--x`, values stand behind `=` or in the next argument.

use std::path::PathBuf;

use crate::cloudinit::Addresses;

pub const HELP: &str = "\
node cloudinit --from-file FILE: makes of this machine what a cloud-config of CoreOS's kind says.

  --from-file FILE      the user-data: `#cloud-config`, a script that begins with `#!`, either in gzip; empty is fine
  --validate            print what is wrong with it, with lines, and do nothing
  --plan                print the steps, and do nothing
  --root DIR            write below DIR and run nothing: users, units and scripts are left out
  --public-ipv4 A, --private-ipv4 A, --public-ipv6 A, --private-ipv6 A
                        what `$public_ipv4` and so on stand for
  --ssh-key-name NAME   what the keys are called in authorized_keys [coreos-cloudinit]
  --workspace DIR       where scripts are kept [/var/lib/coreos-cloudinit]
  --ignore-failure      exit with 0 although something in the user-data cannot be used

Try it:
  $ node cloudinit --from-file user-data --validate
  $ node cloudinit --from-file user-data --plan

It is run at every boot (node-cloudinit.service) and does only what is not done yet.

What it takes
  hostname, users, ssh_authorized_keys (of the user core, who is made where there is none), write_files,
  manage_etc_hosts, and below coreos: units, etcd, etcd2, fleet, flannel, locksmith, update, oem. `-` in a key is `_`.
  etcd, etcd2 and fleet become settings of the node, in /etc/node/node.toml.d/20-cloudinit.toml. etcd.service,
  etcd2.service and fleet.service are names of node.service then: to start one of them starts the node. A service whose
  whole unit is in the user-data stays that service, with its section as variables in a drop-in, as on CoreOS.
  flannel and update become the files that flanneld and update-engine read, locksmith a drop-in of locksmithd.service;
  where there is no such unit on this machine its commands are left out.

Addresses
  A flag, else a variable COREOS_PUBLIC_IPV4 and so on, else the same in /etc/environment, else for both of IPv4
  the address of the default route. They are written into /etc/environment. `\\$private_ipv4` is left as it is.

What it prints
  + done, or to be done      = in place already      ! a command, which is run each time      - left out, and why

What is wrong is told with its line. What it belongs to is left out, the rest is done, and the exit code is 1. A step
that fails ends the run. With --validate the code is 1 if there is anything to tell. 2: the command line is wrong.

Keys of users by coreos_ssh_import_github and coreos_ssh_import_url are fetched with curl.
";

/// What is asked for.
pub enum Asked {
    Help,
    Run(Options),
}

/// A command line that has been read.
#[derive(Debug)]
pub struct Options {
    pub file: PathBuf,
    pub validate: bool,
    pub plan: bool,
    pub root: PathBuf,
    /// Empty where no flag says one.
    pub addresses: Addresses,
    pub ssh_key_name: String,
    pub workspace: PathBuf,
    pub ignore_failure: bool,
}

/// Reads the command line.
///
/// # Errors
/// The first mistake.
pub fn read(arguments: &[String]) -> Result<Asked, String> {
    let mut file = None;
    let mut options = Options {
        file: PathBuf::new(),
        validate: false,
        plan: false,
        root: PathBuf::from("/"),
        addresses: Addresses::default(),
        ssh_key_name: "coreos-cloudinit".to_owned(),
        workspace: PathBuf::from("/var/lib/coreos-cloudinit"),
        ignore_failure: false,
    };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let flag = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
        let flag = flag.ok_or_else(|| format!("`{argument}` is no flag"))?;
        let (name, attached) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag, None),
        };
        let truth = match name {
            "help" | "h" => return Ok(Asked::Help),
            "validate" => Some(&mut options.validate),
            "plan" => Some(&mut options.plan),
            "ignore-failure" => Some(&mut options.ignore_failure),
            _ => None,
        };
        if let Some(truth) = truth {
            *truth = match attached {
                None | Some("true") => true,
                Some("false") => false,
                Some(other) => return Err(format!("`{argument}`: write true or false, not {other}")),
            };
            continue;
        }
        let place = options.addresses.get_mut(&name.replace('-', "_"));
        if place.is_none() && !["from-file", "root", "ssh-key-name", "workspace"].contains(&name) {
            return Err(format!("unknown flag `{argument}`"));
        }
        let value = attached.or_else(|| rest.next().map(String::as_str));
        let value = value.ok_or_else(|| format!("`{argument}` needs a value"))?.to_owned();
        match (name, place) {
            (_, Some(address)) => *address = value,
            ("from-file", _) => file = Some(PathBuf::from(value)),
            ("root", _) => options.root = PathBuf::from(value),
            ("ssh-key-name", _) => options.ssh_key_name = key_name(value)?,
            _ => options.workspace = PathBuf::from(value),
        }
    }
    options.file = file.ok_or("write --from-file FILE")?;
    Ok(Asked::Run(options))
}

/// The name stands in a comment line of its own.
fn key_name(name: String) -> Result<String, String> {
    match name.is_empty() || name.contains(char::is_whitespace) {
        true => Err(format!("--ssh-key-name {name:?}: write one word")),
        false => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn asked(line: &str) -> Result<Asked, String> {
        read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn both_dialects_are_one() {
        for line in ["-from-file f -plan -private-ipv4 10.0.0.1", "--plan=true --private-ipv4=10.0.0.1 --from-file=f"] {
            let Asked::Run(options) = asked(line).unwrap() else { unreachable!() };
            assert_eq!(options.file, PathBuf::from("f"));
            assert!(options.plan && !options.validate);
            assert_eq!(options.addresses.private_ipv4, "10.0.0.1");
        }
        assert!(matches!(asked("--from-file f --help"), Ok(Asked::Help)));
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("", "--from-file"),
            ("--from-file", "needs a value"),
            ("--from-fil f", "`--from-fil`"),
            ("f", "`f` is no flag"),
            ("--from-file f --plan=maybe", "maybe"),
            ("--from-file f --ssh-key-name=", "one word"),
        ];
        for (line, expected) in cases {
            let Err(mistake) = asked(line) else { panic!("{line:?} was taken") };
            assert!(mistake.contains(expected), "{line:?}: {mistake}");
        }
    }
}
