//! What the stories of the systemd executor share: an executor with what it told, and looks at the host behind its back.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use corenode::fleet::executor::{ActiveState, Executor, ExecutorError, UnitFile};
use corenode::systemd::{SystemdExecutor, SystemdOptions};
use corenode::unit::UnitText;

const UNITS_DIR: &str = "/run/fleet/units";
pub const STATE_BOUND: Duration = Duration::from_secs(60);

/// An executor, and what it has told so far.
pub struct Stage {
    pub executor: SystemdExecutor,
    pub states: BTreeMap<String, ActiveState>,
}

impl Stage {
    pub async fn open() -> Result<Self> {
        let executor = SystemdExecutor::connect(SystemdOptions::default()).await?;
        Ok(Self { executor, states: BTreeMap::new() })
    }

    pub async fn load(&self, units: &[(&str, &str)]) -> Vec<Result<(), ExecutorError>> {
        self.executor.load(units.iter().map(|(name, text)| file(name, text)).collect()).await
    }

    /// Waits until what was told makes `condition` true.
    pub async fn until(
        &mut self,
        what: &str,
        condition: impl Fn(&BTreeMap<String, ActiveState>) -> bool,
    ) -> Result<()> {
        let ends = tokio::time::Instant::now() + STATE_BOUND;
        while !condition(&self.states) {
            let Ok(changes) = tokio::time::timeout_at(ends, self.executor.changes()).await else {
                bail!("waited {STATE_BOUND:?} for {what}; told so far: {:#?}", self.states);
            };
            for change in changes {
                match change.state {
                    Some(state) => self.states.insert(change.name, state),
                    None => self.states.remove(&change.name),
                };
            }
        }
        Ok(())
    }

    pub async fn until_state(&mut self, unit: &str, active: &str, sub: &str) -> Result<()> {
        let is = |state: Option<&ActiveState>| state.is_some_and(|s| s.active == active && s.sub == sub);
        self.until(&format!("{unit} to be {active} ({sub})"), |states| is(states.get(unit))).await
    }

    pub async fn until_gone(&mut self, unit: &str) -> Result<()> {
        self.until(&format!("{unit} to be gone"), |states| !states.contains_key(unit)).await
    }

    pub async fn start(&mut self, unit: &str) -> Result<()> {
        self.executor.start(unit).await?;
        self.until_state(unit, "active", "running").await
    }
}

pub fn file(name: &str, text: &str) -> UnitFile {
    let hash = UnitText::parse(text).map(|text| text.hash()).unwrap_or_default();
    UnitFile { name: name.to_owned(), text: text.to_owned(), hash }
}

/// Runs a program: its exit code, and what it printed.
pub fn run(line: &str) -> Result<(i32, String)> {
    let output = Command::new("sh").args(["-c", line]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok((output.status.code().unwrap_or(-1), text))
}

pub fn shows(line: &str, expected: &str) -> Result<()> {
    let (_, text) = run(line)?;
    ensure!(text == expected, "{line}: {text:?}, expected {expected:?}");
    Ok(())
}

/// Waits until `line` prints `expected`, for what no executor tells of.
pub async fn will_show(line: &str, expected: &str) -> Result<()> {
    let asked = Instant::now();
    while run(line)?.1 != expected {
        if asked.elapsed() > STATE_BOUND {
            return shows(line, expected);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

pub fn main_pid(unit: &str) -> Result<String> {
    let (_, pid) = run(&format!("systemctl show -P MainPID {unit}"))?;
    ensure!(pid != "0" && !pid.is_empty(), "{unit} has no main process");
    Ok(pid)
}

/// Checks that neither systemd nor the executor's directory has anything of these units.
pub fn nothing_is_left(names: &[String]) -> Result<()> {
    let left = fs::read_dir(UNITS_DIR)?.count();
    ensure!(left == 0, "{left} files are left in {UNITS_DIR}");
    for name in names {
        shows(&format!("systemctl show -P LoadState {name}"), "not-found")?;
        shows(&format!("systemctl list-units --all --no-legend {name}"), "")?;
        shows(&format!("find /run/systemd/system -name {name}"), "")?;
    }
    Ok(())
}
