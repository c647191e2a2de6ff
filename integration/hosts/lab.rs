//! Real hosts on one machine: containers that boot systemd, with a D-Bus, a journal, a Docker engine and an address each.
//!
//! A run names everything it makes after itself, and a janitor process removes exactly that when the run is over, also
//! when the run was killed. `CORENODE_KEEP_HOSTS=1` leaves the hosts up for a look.

use std::fs;
use std::io::{Seek, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use crate::app_image;
use crate::command::{self, Output};
use crate::waits::wait_until;

/// One command inside a host, or one of the engine.
const COMMAND_BOUND: Duration = Duration::from_secs(60);
/// From power on until systemd says that every start job is done.
const BOOT_BOUND: Duration = Duration::from_secs(90);
/// Packages, engine and image on a machine that has none of them yet.
const PROVISION_BOUND: Duration = Duration::from_secs(1800);
/// The first host's last octet.
const FIRST_ADDRESS: usize = 11;

/// Where a host has the units of packages, and the links to those that start at boot.
const UNITS: &str = "usr/lib/systemd/system";
const WANTS: &str = "etc/systemd/system/multi-user.target.wants";

/// What a host is allowed to do besides Docker's defaults: boot systemd and run an engine of its own.
const HOST_FLAGS: &str = "--cap-add SYS_ADMIN --cap-add NET_ADMIN --cap-add NET_RAW --cap-add SYS_PTRACE \
    --cap-add SYS_NICE --cap-add AUDIT_CONTROL --cap-add SYS_MODULE --security-opt seccomp=unconfined \
    --security-opt apparmor=unconfined --cgroupns=host -v /sys/fs/cgroup:/sys/fs/cgroup:rw --tmpfs /run --tmpfs /tmp \
    -v /var/lib/docker -e container=docker --stop-signal SIGRTMIN+3";

/// Waits until its stdin ends, which it does however the run ends, then removes what carries the run's label.
/// It tries again for a while, since a container may be in the making when a run is killed.
const JANITOR: &str = r#"
cat >/dev/null
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    containers=$(docker ps -aq --filter "label=corenode.run=$1")
    [ -z "$containers" ] || docker rm -f -v $containers
    networks=$(docker network ls -q --filter "label=corenode.run=$1")
    [ -z "$networks" ] || docker network rm $networks
    [ -n "$containers$networks" ] || exit 0
    [ $attempt = 1 ] || sleep 0.5
done >/dev/null 2>&1
exit 1
"#;

/// One host of a lab.
#[derive(Clone, Debug)]
pub struct Host {
    /// Host name, such as `core-01`.
    pub name: String,
    /// Its IPv4 address in the lab's network.
    pub ip: String,
}

/// What is installed on every host before its first boot, besides `node.toml` and `node.service` as `config/` has them.
pub struct Install<'a> {
    /// The program; `fleetctl`, `etcdctl` and `confd` become links to it.
    pub binary: &'a Path,
    /// What one host of all of them has in a drop-in of `node.toml`.
    pub settings: fn(&Host, &[Host]) -> String,
}

/// How a host is laid out.
#[derive(Clone, Copy)]
enum Layout<'a> {
    /// As a node that starts at boot.
    Node(&'a Install<'a>),
    /// With the program and the units of its package, and nothing that says what to do with them.
    Blank(&'a Path),
}

/// Hosts that are up, in a network of their own.
pub struct Lab {
    run: String,
    image: String,
    hosts: Vec<Host>,
    janitor: Option<Child>,
}

impl Lab {
    /// Boots a host for each of `names`, with `install` and the image of [`app_image`] on each of them.
    ///
    /// Returns when systemd on every host has finished booting, whether `node.service` came up or failed.
    pub fn start(names: &[&str], install: &Install<'_>) -> Result<Self> {
        Self::start_as(names, Layout::Node(install))
    }

    /// The same with hosts on which the program lies, and nothing is set, enabled or started.
    pub fn start_blank(names: &[&str], binary: &Path) -> Result<Self> {
        Self::start_as(names, Layout::Blank(binary))
    }

    fn start_as(names: &[&str], layout: Layout<'_>) -> Result<Self> {
        let image = provision()?;
        let started = Instant::now();
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos();
        let run = format!("corenode-{}-{nanos:08x}", std::process::id());
        let janitor = start_janitor(&run)?;
        let mut lab = Self { run, image, hosts: Vec::new(), janitor: Some(janitor) };
        let subnet = lab.make_network()?;
        lab.hosts = names
            .iter()
            .enumerate()
            .map(|(index, name)| Host { name: (*name).to_owned(), ip: format!("{subnet}.{}", FIRST_ADDRESS + index) })
            .collect();
        lab.on_every_host(|lab, host| lab.create(host, layout))?;
        lab.on_every_host(Self::boot)?;
        lab.on_every_host(|lab, host| lab.exec(&host.name, &app_image::IMPORT)?.ok().map(drop))?;
        eprintln!("lab: {} hosts up in {:.1?} as {}-*", names.len(), started.elapsed(), lab.run);
        Ok(lab)
    }

    /// Runs `story`, and when it fails prints what the hosts know about it. The hosts are gone afterwards.
    pub fn tell(self, story: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        story(&self).inspect_err(|_| self.report())
    }

    /// The hosts, in the order of their names at the start.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The host of that name.
    pub fn host(&self, name: &str) -> Result<&Host> {
        self.hosts.iter().find(|host| host.name == name).with_context(|| format!("no host {name} in this lab"))
    }

    /// The id that the host gave itself at its first boot: 32 hex digits.
    pub fn machine_id(&self, host: &str) -> Result<String> {
        Ok(self.exec(host, &["cat", "/etc/machine-id"])?.ok()?.stdout.trim().to_owned())
    }

    /// Runs `argv` on a host as root, for at most a minute. An exit code other than 0 is not an error.
    pub fn exec(&self, host: &str, argv: &[&str]) -> Result<Output> {
        let container = self.container(host);
        let mut output = docker(&[&["exec", "-w", "/root", &container], argv].concat())?;
        output.command = format!("{host}# {}", argv.join(" "));
        Ok(output)
    }

    /// Runs a line of shell on a host as root in `/root`, and prints it with its output.
    pub fn shell(&self, host: &str, line: &str) -> Result<Output> {
        let mut output = self.exec(host, &["sh", "-c", line])?;
        output.command = format!("{host}# {line}");
        print!("{output}");
        Ok(output)
    }

    /// As [`Lab::shell`], for what may take longer than a minute.
    pub fn shell_within(&self, host: &str, line: &str, bound: Duration) -> Result<Output> {
        let container = self.container(host);
        let argv = ["docker", "exec", "-w", "/root", &container, "sh", "-c", line];
        let mut output = command::run(&argv, None, bound)?;
        output.command = format!("{host}# {line}");
        print!("{output}");
        Ok(output)
    }

    /// Writes a file on a host; the folders above it are made.
    pub fn write_file(&self, host: &str, path: &str, contents: &str) -> Result<()> {
        let mut input = tempfile::tempfile().context("make a temporary file")?;
        input.write_all(contents.as_bytes())?;
        input.rewind()?;
        let script = r#"mkdir -p "$(dirname "$1")" && cat >"$1""#;
        let container = self.container(host);
        let argv = ["docker", "exec", "-i", &container, "sh", "-c", script, "write", path];
        command::run(&argv, Some(input), COMMAND_BOUND)?.ok().map(drop)
    }

    /// Copies a file of this machine onto a host, mode and all.
    pub fn copy_file(&self, host: &str, from: &Path, path: &str) -> Result<()> {
        let target = format!("{}:{path}", self.container(host));
        docker(&["cp", &from.to_string_lossy(), &target])?.ok().map(drop)
    }

    /// Takes the power from a host: nothing on it gets to run another instruction.
    pub fn power_off(&self, host: &str) -> Result<()> {
        docker(&["kill", "-s", "KILL", &self.container(host)])?.ok().map(drop)
    }

    /// Shuts a host down in order, as `systemctl poweroff` does.
    pub fn shut_down(&self, host: &str) -> Result<()> {
        docker(&["stop", "-t", "50", &self.container(host)])?.ok().map(drop)
    }

    /// Boots a host that is off, with the disk it had; returns when it has booted.
    pub fn power_on(&self, host: &str) -> Result<()> {
        self.boot(self.host(host)?)
    }

    /// Boots another host in the place of one that is gone, with its name and address and an empty disk.
    pub fn replace(&self, host: &str, binary: &Path) -> Result<()> {
        docker(&["rm", "-f", "-v", &self.container(host)])?.ok()?;
        let host = self.host(host)?;
        self.create(host, Layout::Blank(binary))?;
        self.boot(host)
    }

    /// Stalls a host: every process on it stands still, and its connections stay open.
    pub fn pause(&self, host: &str) -> Result<()> {
        docker(&["pause", &self.container(host)])?.ok().map(drop)
    }

    /// Lets a stalled host go on.
    pub fn unpause(&self, host: &str) -> Result<()> {
        docker(&["unpause", &self.container(host)])?.ok().map(drop)
    }

    /// Drops every packet between `host` and `others`, in both directions, until [`Lab::heal`].
    pub fn partition(&self, host: &str, others: &[&str]) -> Result<()> {
        for other in others {
            let ip = &self.host(other)?.ip;
            for rule in [["PREROUTING", "-s", ip], ["POSTROUTING", "-d", ip]] {
                let argv = [&["iptables", "-w", "-t", "mangle", "-A"], &rule[..], &["-j", "DROP"]].concat();
                self.exec(host, &argv)?.ok()?;
            }
        }
        Ok(())
    }

    /// Ends every partition that was made at `host`.
    pub fn heal(&self, host: &str) -> Result<()> {
        self.exec(host, &["iptables", "-w", "-t", "mangle", "-F"])?.ok().map(drop)
    }

    /// Prints the state and the last log lines of `node` on every host, for a person who looks for a cause.
    pub fn report(&self) {
        let script = "systemctl --failed --no-legend; systemctl status --no-pager -n 0 node; \
            journalctl -u node --no-pager -n 80 -o short-precise; docker ps -a";
        for host in &self.hosts {
            match self.exec(&host.name, &["sh", "-c", script]) {
                Ok(output) => eprintln!("---- {}\n{}{}", host.name, output.stdout, output.stderr),
                Err(error) => eprintln!("---- {}: {error:#}", host.name),
            }
        }
    }

    fn container(&self, host: &str) -> String {
        format!("{}-{host}", self.run)
    }

    /// Makes the network 172.28.X.0/24 for the first X that is free; returns its first three octets.
    fn make_network(&self) -> Result<String> {
        let first = std::process::id() % 256;
        for third in (0..256).map(|step| (first + step) % 256) {
            let subnet = format!("172.28.{third}");
            let cidr = format!("{subnet}.0/24");
            let label = format!("corenode.run={}", self.run);
            let output = docker(&["network", "create", "--label", &label, "--subnet", &cidr, &self.run])?;
            if output.code == 0 {
                return Ok(subnet);
            }
            ensure!(output.stderr.contains("overlaps"), "make a network for the hosts\n{output}");
        }
        bail!("every network 172.28.X.0/24 is taken: remove some with `docker network rm`")
    }

    /// Makes the container of a host and puts its files on its disk, without booting it.
    fn create(&self, host: &Host, layout: Layout<'_>) -> Result<()> {
        let container = self.container(&host.name);
        let label = format!("corenode.run={}", self.run);
        let mut argv = vec!["create", "--name", &container, "--label", &label, "--hostname", &host.name];
        argv.extend(["--network", &self.run, "--ip", &host.ip]);
        let names: Vec<String> = self.hosts.iter().map(|host| format!("{}:{}", host.name, host.ip)).collect();
        argv.extend(names.iter().flat_map(|name| ["--add-host", name]));
        argv.extend(HOST_FLAGS.split_whitespace());
        argv.extend([self.image.as_str(), "/sbin/init"]);
        let id = docker(&argv)?.ok()?.stdout;

        let disk = tempfile::tempdir().context("make a temporary folder")?;
        lay_out(disk.path(), &self.hosts, host, layout, id.trim())?;
        let source = format!("{}/.", disk.path().display());
        docker(&["cp", &source, &format!("{container}:/")])?.ok().map(drop)
    }

    fn boot(&self, host: &Host) -> Result<()> {
        docker(&["start", &self.container(&host.name)])?.ok()?;
        wait_until(&format!("{} to finish booting", host.name), BOOT_BOUND, || {
            let output = self.exec(&host.name, &["systemctl", "is-system-running"])?;
            let booted = matches!(output.stdout.trim(), "running" | "degraded");
            ensure!(booted, "{output}");
            Ok(true)
        })
        .inspect_err(|_| self.report())
    }

    /// Does `job` for all hosts at the same time; the first error counts.
    fn on_every_host(&self, job: impl Fn(&Self, &Host) -> Result<()> + Sync) -> Result<()> {
        let job = &job;
        thread::scope(|scope| {
            let threads: Vec<_> = self.hosts.iter().map(|host| scope.spawn(move || job(self, host))).collect();
            threads.into_iter().try_for_each(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let Some(mut janitor) = self.janitor.take() else { return };
        if std::env::var_os("CORENODE_KEEP_HOSTS").is_some() {
            let _ = janitor.kill();
            let _ = janitor.wait();
            eprintln!(
                "lab: kept; look with `docker exec -it {0}-NAME bash`, remove with\n  docker rm -f -v \
                 $(docker ps -aq --filter label=corenode.run={0}); docker network rm {0}",
                self.run
            );
            return;
        }
        drop(janitor.stdin.take());
        match janitor.wait() {
            Ok(status) if status.success() => {}
            other => eprintln!("lab: something of {} may be left ({other:?}); see `docker ps -a`", self.run),
        }
    }
}

/// Prepares this machine; returns the name of the image that hosts boot.
fn provision() -> Result<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/integration/hosts/provision.sh");
    let output = command::run(&[script], None, PROVISION_BOUND)?.ok()?;
    eprint!("{}", output.stderr);
    Ok(output.stdout.trim().to_owned())
}

/// Starts the process that cleans up. In a process group of its own, so that Ctrl-C does not reach it.
fn start_janitor(run: &str) -> Result<Child> {
    Command::new("sh")
        .args(["-c", JANITOR, "janitor", run])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("start `sh`, to clean up after the run")
}

/// Writes below `disk` what a host has on top of the image. `container` is its id in the outer engine.
fn lay_out(disk: &Path, hosts: &[Host], host: &Host, layout: Layout<'_>, container: &str) -> Result<()> {
    for folder in ["usr/bin", "etc/node/node.toml.d", "etc/docker", WANTS, UNITS, "opt"] {
        fs::create_dir_all(disk.join(folder))?;
    }
    fs::set_permissions(disk, fs::Permissions::from_mode(0o755))?;

    // The containers of a host live in the host's own control groups: they stand still when it is paused.
    let engine = format!(
        r#"{{"exec-opts": ["native.cgroupdriver=cgroupfs"], "cgroup-parent": "/docker/{container}/containers"}}"#
    );
    fs::write(disk.join("etc/docker/daemon.json"), engine)?;

    // As the machines of vagrant/ are made.
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/vagrant/provision.sh");
    let binary = match layout {
        Layout::Node(install) => install.binary,
        Layout::Blank(binary) => binary,
    };
    let (root, binary) = (disk.to_string_lossy(), binary.to_string_lossy());
    command::run(&[script, "--root", &*root, &*binary], None, COMMAND_BOUND)?.ok()?;
    if let Layout::Node(install) = layout {
        symlink(format!("/{UNITS}/node.service"), disk.join(WANTS).join("node.service"))?;
        fs::write(disk.join("etc/node/node.toml.d/host.toml"), (install.settings)(host, hosts))?;
    }
    app_image::write_archive(&disk.join(app_image::ARCHIVE.trim_start_matches('/')))
}

/// One command of the engine that runs the hosts.
fn docker(args: &[&str]) -> Result<Output> {
    command::run(&[&["docker"], args].concat(), None, COMMAND_BOUND)
}
