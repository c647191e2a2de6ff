//! The node as a service of systemd's: enabled and started, its unit put there where no package has.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::Plan;
use crate::app::settings::DEFAULT_FILE;

const UNIT: &str = include_str!("../../../config/usr/lib/systemd/system/node.service");
const NAME: &str = "node.service";
const PLACE: &str = "/etc/systemd/system/node.service";
/// Where packages put the binary, as the unit has it.
const BINARY: &str = "/usr/bin/node";

/// Enables and starts the service, if that is asked for and can be; says what was done, or what to type.
///
/// # Errors
/// What systemd refuses.
pub fn start(plan: &Plan) -> anyhow::Result<String> {
    let by_hand = match plan.config.as_path() {
        config if config == Path::new(DEFAULT_FILE) => "node run".to_owned(),
        config => format!("node run --config {}", config.display()),
    };
    let usual = plan.config == Path::new(DEFAULT_FILE);
    if !plan.start || !usual || !sd_notify::booted().unwrap_or(false) {
        return Ok(by_hand);
    }
    if systemctl(&["cat", NAME]).is_err() {
        let own = std::env::current_exe().context("finding this program")?;
        std::fs::write(PLACE, UNIT.replace(BINARY, &own.display().to_string())).context(PLACE)?;
        systemctl(&["daemon-reload"])?;
    }
    systemctl(&["enable", "--quiet", NAME])?;
    systemctl(&["restart", NAME]).with_context(|| format!("`journalctl -u {NAME}` says more"))?;
    Ok(format!("{NAME} is enabled and runs"))
}

fn systemctl(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("systemctl").args(arguments).output().context("systemctl")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "systemctl {}: {}", arguments.join(" "), said.trim());
    Ok(())
}
