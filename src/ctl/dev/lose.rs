//! `node dev lose NAME`: what a power cut does to a machine, done to one node of a cluster on loopback.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Kills a node of the cluster that `--env FILE` (or the environment) names, and everything that it runs.
pub fn run(arguments: &[String]) -> anyhow::Result<u8> {
    let (name, env) = match arguments {
        [name] => (name, None),
        [name, flag, file] if flag == "--env" => (name, Some(file)),
        [flag, file, name] if flag == "--env" => (name, Some(file)),
        _ => bail!("write `node dev lose NAME --env FILE`, for example `node dev lose dev-1 --env /tmp/cluster.env`"),
    };
    let dir = cluster_dir(env.map(Path::new))?.join(name);
    let pid_file = dir.join("pid");
    let pid = std::fs::read_to_string(&pid_file)
        .with_context(|| format!("`{name}` is no node of this cluster: reading {}", pid_file.display()))?;
    let pid = pid
        .trim()
        .parse()
        .ok()
        .and_then(Pid::from_raw)
        .with_context(|| format!("{} holds no pid", pid_file.display()))?;
    kill_process(pid, Signal::KILL).with_context(|| format!("{name} is not running"))?;
    kill_units(&dir);
    println!("{name} and everything that it ran are gone");
    Ok(0)
}

fn cluster_dir(env: Option<&Path>) -> anyhow::Result<PathBuf> {
    let Some(file) = env else {
        return std::env::var_os("NODE_DEV_DIR")
            .map(PathBuf::from)
            .context("which cluster? Give --env FILE as for `node dev`");
    };
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    text.lines()
        .find_map(|line| line.strip_prefix("export NODE_DEV_DIR="))
        .map(PathBuf::from)
        .with_context(|| format!("{} was not written by `node dev --env`", file.display()))
}

/// Kills all that a node's `process` executor runs, without a word to the units.
pub fn kill_units(node_dir: &Path) {
    #[cfg(feature = "scheduler")]
    crate::process::kill_all(&node_dir.join("data/units"));
    #[cfg(not(feature = "scheduler"))]
    let _ = node_dir;
}
