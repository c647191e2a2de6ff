//! The systemd executor on a real host: this test program copies itself there and runs its stories beside a real systemd.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};

use crate::lab::{Install, Lab};
use crate::smoke;

/// The test that stands for a process on a host, and what tells it which story to play.
pub const INSIDE: &str = "inside_a_host";
pub const STORY: &str = "CORENODE_STORY";
const HOST: &str = "core-01";
const PROGRAM: &str = "/usr/local/bin/inside";

/// Plays all stories on one host, each in a process of its own: `left_behind` is what `found_again` finds.
pub fn run() -> Result<()> {
    let folder = tempfile::tempdir().context("make a temporary folder")?;
    let node = folder.path().join("node");
    fs::write(&node, smoke::PROGRAM)?;
    fs::set_permissions(&node, fs::Permissions::from_mode(0o755))?;
    let install = Install { binary: &node, settings: |_, _| String::new() };
    Lab::start(&[HOST], &install)?.tell(|lab| {
        let program = std::env::current_exe().context("find this program")?;
        lab.copy_file(HOST, &program, PROGRAM)?;
        for (story, _) in crate::inside::STORIES {
            let line = format!("{STORY}={story} {PROGRAM} --exact {INSIDE} --ignored --nocapture");
            lab.shell(HOST, &line)?.ok()?;
        }
        Ok(())
    })
}
