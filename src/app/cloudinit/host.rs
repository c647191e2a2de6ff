//! The machine that a plan is carried out on: what is in place already, and how the rest is done.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::keys::{self, Account};
use super::tool;
use crate::cloudinit::{ALIASES_FOLDER, CommandRule, NODE_SETTINGS, NODE_UNIT, Owner as Wanted, Step};
use crate::confd::{Identity, md5};
use crate::files::{self, Owner, Staged};

const NOWHERE: &str = "/dev/null";
/// Where systemd looks for units' files, but for those that programs write at run time.
const UNIT_FOLDERS: [&str; 4] =
    ["/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
const NOTHING_RUNS: &str = "below another root nothing is run";

/// What became of a step, or would.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It would be done.
    Due,
    Done,
    InPlace,
    /// It would be run, as each time.
    Command,
    LeftOut(String),
}

/// A path below a root.
pub fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Gives a path to its owner, where this process may.
pub fn own(path: &Path, owner: Owner, mode: u32) -> anyhow::Result<()> {
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(path, Some(owner.uid), Some(owner.gid))
            .with_context(|| format!("giving {} to its user", path.display()))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).with_context(|| format!("closing {}", path.display()))
}

pub struct Host {
    root: PathBuf,
    units_changed: bool,
    settings_changed: bool,
}

impl Host {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), units_changed: false, settings_changed: false }
    }

    /// What would become of a step.
    ///
    /// # Errors
    /// Where it cannot be told, or would fail.
    pub fn look(&self, step: &Step) -> anyhow::Result<Outcome> {
        let due = |due: bool| Ok(if due { Outcome::Due } else { Outcome::InPlace });
        match step {
            Step::Hostname(name) => due(!self.is_hostname(name)),
            Step::User { name, passwd, .. } => match self.account(name)? {
                _ if !self.is_here() => Ok(nothing_runs()),
                Some(_) => due(!passwd.is_empty() && self.hash(name)?.as_deref() != Some(passwd)),
                None => due(true),
            },
            Step::AuthorizeKeys { user, name, keys } => match self.account(user)? {
                Some(account) => due(keys::due(&self.root, &account, name, keys)?.is_some()),
                None if self.is_here() => due(true),
                None => Ok(Outcome::LeftOut(format!("there is no user {user}"))),
            },
            Step::WriteFile { path, content, mode, owner } => due(!self.is_written(path, content, *mode, owner)?),
            Step::PlaceUnit { path, content } => {
                due(!self.is_written(path, content.as_bytes(), 0o644, &Wanted::default())?)
            }
            Step::RemoveFile(path) => due(fs::symlink_metadata(self.place(path)).is_ok()),
            Step::Alias(name) => match self.another(name) {
                Some(file) => Ok(Outcome::LeftOut(format!("there is one of its own, {}", file.display()))),
                None => due(!self.is_link(&alias(name), &self.node_unit())),
            },
            Step::Mask(path) => due(!self.is_link(path, Path::new(NOWHERE))),
            Step::Unmask(path) => due(self.is_masked(path)),
            Step::FetchKeys { .. } | Step::Enable { .. } | Step::Reload | Step::Command { .. } => {
                match self.is_here() {
                    true => Ok(Outcome::Command),
                    false => Ok(nothing_runs()),
                }
            }
        }
    }

    /// Does a step, unless it is in place.
    ///
    /// # Errors
    /// Why it failed.
    pub async fn carry_out(&mut self, step: &Step) -> anyhow::Result<Outcome> {
        match self.look(step)? {
            Outcome::Due => self.change(step).await.map(|()| Outcome::Done),
            Outcome::Command => self.command(step).await,
            outcome => Ok(outcome),
        }
    }

    async fn change(&mut self, step: &Step) -> anyhow::Result<()> {
        match step {
            Step::Hostname(name) => self.set_hostname(name),
            Step::User { name, arguments, passwd } => self.make_user(name, arguments, passwd).await,
            Step::AuthorizeKeys { user, name, keys } => self.authorize(user, name, keys),
            Step::WriteFile { path, content, mode, owner } => {
                self.settings_changed |= path == NODE_SETTINGS;
                self.write(path, content, *mode, owner)
            }
            Step::PlaceUnit { path, content } => {
                self.units_changed = true;
                self.write(path, content.as_bytes(), 0o644, &Wanted::default())
            }
            Step::RemoveFile(path) => {
                self.settings_changed |= path == NODE_SETTINGS;
                fs::remove_file(self.place(path)).context("removing it")
            }
            Step::Alias(name) => self.link(&alias(name), &self.node_unit()),
            Step::Mask(path) => self.link(path, Path::new(NOWHERE)),
            Step::Unmask(path) => {
                self.units_changed = true;
                fs::remove_file(self.place(path)).context("removing it")
            }
            Step::FetchKeys { .. } | Step::Enable { .. } | Step::Reload | Step::Command { .. } => Ok(()),
        }
    }

    async fn command(&mut self, step: &Step) -> anyhow::Result<Outcome> {
        match step {
            Step::FetchKeys { user, name, url } => {
                let limits = ["--max-time", "60", "--max-filesize", "1000000", "--proto", "=http,https"];
                let arguments = [&["-fsSL"], limits.as_slice(), &["--url", url]].concat();
                let keys = keys::fetched(&tool::run("curl", &arguments, "").await?)?;
                self.authorize(user, name, &keys)?;
            }
            Step::Enable { unit, runtime } => {
                let runtime: &[&str] = if *runtime { &["--runtime"] } else { &[] };
                systemctl(&[&["enable", "--force"], runtime, &[unit]].concat()).await?;
            }
            Step::Reload if !self.units_changed => return Ok(Outcome::InPlace),
            Step::Reload => {
                systemctl(&["daemon-reload"]).await?;
                self.units_changed = false;
            }
            Step::Command { verb, unit, rule: CommandRule::Must } => systemctl(&[verb, unit]).await?,
            Step::Command { verb, unit, rule: CommandRule::IfPresent } => {
                let state = tool::run("systemctl", &["show", "--property=LoadState", "--value", unit], "").await?;
                let present = state.trim() == "loaded" || (state.trim() == "masked" && verb == "stop");
                if !present {
                    return Ok(Outcome::LeftOut(format!("there is no {unit} on this machine")));
                }
                systemctl(&[verb, unit]).await?;
            }
            Step::Command { verb, unit, rule: CommandRule::Node } => {
                let anew = self.settings_changed && verb == "start";
                systemctl(&["--no-block", if anew { "restart" } else { verb }, unit]).await?;
            }
            _ => {}
        }
        Ok(Outcome::Done)
    }

    /// Keeps a script and runs it as a unit of its own, which is not waited for.
    ///
    /// # Errors
    /// Where it cannot be kept or started.
    pub async fn run_script(&mut self, script: &str, workspace: &Path) -> anyhow::Result<()> {
        let id = md5(script.as_bytes()).to_string();
        let path = workspace.join("scripts").join(&id);
        self.write(&path.to_string_lossy(), script.as_bytes(), 0o744, &Wanted::default())
            .with_context(|| format!("keeping the script at {}", path.display()))?;
        if !self.is_here() {
            println!("- run {}: left out, {NOTHING_RUNS}", path.display());
            return Ok(());
        }
        let unit = format!("--unit=coreos-cloudinit-{id}.service");
        let description = "--description=The script of this machine's user-data";
        let path = path.to_string_lossy();
        tool::run("systemd-run", &["--no-block", "--collect", &unit, description, &path], "").await?;
        println!("+ run {path}: started");
        Ok(())
    }

    fn is_here(&self) -> bool {
        self.root == Path::new("/")
    }

    fn place(&self, path: &str) -> PathBuf {
        below(&self.root, Path::new(path))
    }

    fn account(&self, user: &str) -> anyhow::Result<Option<Account>> {
        keys::account(&self.root, user)
    }

    /// A user's password's hash; `None`: he is not in the file.
    fn hash(&self, user: &str) -> anyhow::Result<Option<String>> {
        let text = fs::read_to_string(self.place("/etc/shadow")).context("reading /etc/shadow")?;
        let mut lines = text.lines().map(|line| line.split(':'));
        Ok(lines.find_map(|mut fields| (fields.next() == Some(user)).then(|| fields.next().unwrap_or("").to_owned())))
    }

    async fn make_user(&self, name: &str, arguments: &[String], passwd: &str) -> anyhow::Result<()> {
        if self.account(name)?.is_none() {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            tool::run("useradd", &arguments, "").await?;
        }
        if !passwd.is_empty() {
            tool::run("chpasswd", &["--encrypted"], &format!("{name}:{passwd}\n")).await?;
        }
        Ok(())
    }

    fn authorize(&self, user: &str, name: &str, keys: &[String]) -> anyhow::Result<()> {
        let account = self.account(user)?.with_context(|| format!("there is no user {user}"))?;
        match keys::due(&self.root, &account, name, keys)? {
            Some((file, text)) => keys::write(&account, &file, text),
            None => Ok(()),
        }
    }

    fn is_hostname(&self, name: &str) -> bool {
        let kept = fs::read_to_string(self.place("/etc/hostname")).unwrap_or_default();
        kept.trim() == name && (!self.is_here() || crate::app::host::hostname() == name)
    }

    fn set_hostname(&self, name: &str) -> anyhow::Result<()> {
        self.write("/etc/hostname", format!("{name}\n").as_bytes(), 0o644, &Wanted::default())?;
        match self.is_here() {
            true => rustix::system::sethostname(name.as_bytes()).context("telling the kernel"),
            false => Ok(()),
        }
    }

    fn owner(&self, wanted: &Wanted) -> anyhow::Result<Owner> {
        let identity = |name: &Option<String>| {
            name.as_ref().map(|name| match name.parse() {
                Ok(number) => Identity::Id(number),
                Err(_) => Identity::Name(name.clone()),
            })
        };
        let (user, group) = (identity(&wanted.user), identity(&wanted.group));
        Ok(files::resolve_owner_below(&self.root, user.as_ref(), group.as_ref())?)
    }

    fn is_written(&self, path: &str, content: &[u8], mode: u32, wanted: &Wanted) -> anyhow::Result<bool> {
        // What is no regular file is replaced, or tells then why it cannot be.
        let Ok(Some(facts)) = files::facts(&self.place(path)) else { return Ok(false) };
        let same = facts.md5 == md5(content) && facts.mode == mode;
        if !same || !rustix::process::geteuid().is_root() {
            return Ok(same);
        }
        let owner = self.owner(wanted)?;
        Ok((facts.uid, facts.gid) == (owner.uid, owner.gid))
    }

    fn write(&self, path: &str, content: &[u8], mode: u32, wanted: &Wanted) -> anyhow::Result<()> {
        let dest = self.place(path);
        let owner = self.owner(wanted)?;
        self.stay_inside(&dest)?;
        files::create_folders(&dest)?;
        let staged = Staged::create(&dest, content.to_vec(), mode, owner)?;
        staged.sync()?;
        Ok(staged.replace()?)
    }

    /// Refuses a folder that a link below another root leads out of it.
    fn stay_inside(&self, dest: &Path) -> anyhow::Result<()> {
        if self.is_here() {
            return Ok(());
        }
        let root = self.root.canonicalize().with_context(|| format!("looking at {}", self.root.display()))?;
        let there = dest.ancestors().skip(1).find_map(|folder| folder.canonicalize().ok());
        let inside = there.is_some_and(|folder| folder.starts_with(&root));
        anyhow::ensure!(inside, "a link leads out of {}", self.root.display());
        Ok(())
    }

    fn is_link(&self, path: &str, target: &Path) -> bool {
        fs::read_link(self.place(path)).is_ok_and(|found| found == target)
    }

    /// A link to nowhere or an empty file, as systemd has it.
    fn is_masked(&self, path: &str) -> bool {
        let empty = || fs::symlink_metadata(self.place(path)).is_ok_and(|file| file.is_file() && file.len() == 0);
        self.is_link(path, Path::new(NOWHERE)) || empty()
    }

    fn link(&mut self, path: &str, target: &Path) -> anyhow::Result<()> {
        self.units_changed = true;
        let place = self.place(path);
        self.stay_inside(&place)?;
        files::create_folders(&place)?;
        match fs::remove_file(&place) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("removing what is there"),
            _ => symlink(target, &place).context("making the link"),
        }
    }

    /// A unit's file of this name that is not ours.
    fn another(&self, name: &str) -> Option<PathBuf> {
        let files = UNIT_FOLDERS.iter().map(|folder| Path::new(folder).join(name));
        let own = PathBuf::from(alias(name));
        let ours = |path: &Path| path == own && self.is_link(&alias(name), &self.node_unit());
        let there = |path: &PathBuf| fs::symlink_metadata(below(&self.root, path)).is_ok() && !ours(path);
        files.chain([own.clone()]).find(there)
    }

    fn node_unit(&self) -> PathBuf {
        let mut files = UNIT_FOLDERS.iter().map(|folder| Path::new(folder).join(NODE_UNIT));
        let found = files.find(|file| below(&self.root, file).exists());
        found.unwrap_or_else(|| Path::new("/usr/lib/systemd/system").join(NODE_UNIT))
    }
}

fn nothing_runs() -> Outcome {
    Outcome::LeftOut(NOTHING_RUNS.to_owned())
}

fn alias(name: &str) -> String {
    format!("{ALIASES_FOLDER}/{name}")
}

async fn systemctl(arguments: &[&str]) -> anyhow::Result<()> {
    tool::run("systemctl", &[&["--no-ask-password"], arguments].concat(), "").await.map(drop)
}
