//! A node's look at itself: its disk, its certificates, the peers that it hears.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::host::SystemClock;
use super::listeners::own_certificate;
use super::settings::Settings;
use super::settings::tls::TlsSettings;
use crate::api::checkup::Examine;
use crate::backup::Backups;
use crate::base::{BoxFuture, Clock};
use crate::disk::{FileSystem, Level, RoomProbe, RoomRules, Usage};
use crate::kv::store::PeerStatus;
use crate::kv::{AlarmKind, Status, Store};
use crate::net::tls::validity;
use crate::raft::RaftStore;
use crate::wire::checkup::{Certificate, Disk, DiskLevel, NodeReport, Silence};

/// Small writes of which the median is taken, and how long all of them may take.
const SYNCS: usize = 9;
const SYNCS_WITHIN: Duration = Duration::from_secs(2);
/// What is written: a page, as an entry of the log is at least.
const SYNC_BYTES: usize = 4096;

/// What a node needs to look at itself.
pub struct Checkup {
    store: Arc<RaftStore>,
    backups: Option<Arc<Backups>>,
    data_dir: PathBuf,
    rules: RoomRules,
    /// A heartbeat that comes this late is half missed.
    sync_us_max: u64,
    certificates: Vec<PathBuf>,
}

impl Checkup {
    pub fn new(settings: &Settings, store: &Arc<RaftStore>, backups: Option<Arc<Backups>>) -> Self {
        Self {
            store: store.clone(),
            backups,
            data_dir: settings.data_dir.clone(),
            rules: settings.disk,
            sync_us_max: settings.heartbeat_ms * 1_000 / 2,
            certificates: certificates(settings),
        }
    }
}

impl Examine for Checkup {
    fn examine(&self) -> BoxFuture<'_, NodeReport> {
        Box::pin(async move {
            let status = self.store.status();
            let usage = Usage { on_disk: status.db_bytes, in_use: status.db_bytes_in_use, ..Usage::default() };
            let (dir, rules, files) = (self.data_dir.clone(), self.rules, self.certificates.clone());
            let looked = tokio::task::spawn_blocking(move || (disk(&dir, &rules, usage), looked_at(&files))).await;
            let (disk, certificates) = looked.unwrap_or_default();
            // Who leads makes them: what another one could not make earlier is no trouble any more.
            let leads = status.leader == Some(status.member);
            let backup_failure = self.backups.as_ref().filter(|_| leads).and_then(|backups| backups.failure());
            NodeReport {
                disk: Disk { sync_us_max: self.sync_us_max, ..disk },
                certificates,
                backup_failure,
                now_ms: SystemClock.now().0,
                ..about(&status)
            }
        })
    }
}

/// What the store knows.
fn about(status: &Status) -> NodeReport {
    let silence = |peer: &PeerStatus| {
        let (since, error) = peer.silent.clone()?;
        let for_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Some(Silence { member: peer.id.to_string(), name: peer.name.clone(), for_ms, error })
    };
    let alarm = |kind: AlarmKind| match kind {
        AlarmKind::NoSpace => "NOSPACE".to_owned(),
        AlarmKind::Corrupt => "CORRUPT".to_owned(),
    };
    let mut alarms: Vec<String> = status.alarms.iter().map(|raised| alarm(raised.kind)).collect();
    alarms.sort();
    alarms.dedup();
    NodeReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        member: status.member.to_string(),
        leader: status.leader.map(|leader| leader.to_string()),
        silent: status.peers.iter().filter_map(silence).collect(),
        alarms,
        ..NodeReport::default()
    }
}

/// The certificates that this node shows, and whom it trusts.
fn certificates(settings: &Settings) -> Vec<PathBuf> {
    let of = |tls: &Option<TlsSettings>, kind: &str| {
        let Some(tls) = tls else { return Vec::new() };
        // As `make_own` names it.
        let own = || own_certificate(settings, kind).join("cert.pem");
        let shown = tls.identity.as_ref().map_or_else(own, |identity| identity.certificate.clone());
        [Some(shown), tls.trusted_ca.clone()].into_iter().flatten().collect()
    };
    let mut all = [of(&settings.client_tls, "client"), of(&settings.peer_tls, "peer")].concat();
    all.sort();
    all.dedup();
    all
}

fn looked_at(files: &[PathBuf]) -> Vec<Certificate> {
    let look = |file: &PathBuf| {
        let (begins, ends, error) = match validity(file) {
            Ok((begins, ends)) => (begins.0, ends.0, None),
            Err(error) => (0, 0, Some(error.to_string())),
        };
        Certificate { file: file.display().to_string(), begins_ms: begins, ends_ms: ends, error }
    };
    files.iter().map(look).collect()
}

fn disk(dir: &Path, rules: &RoomRules, usage: Usage) -> Disk {
    let room = FileSystem(dir.to_owned()).look().ok();
    let level = match room.map(|room| rules.judge(room, usage, Level::Roomy)) {
        None | Some(Level::Roomy) => DiskLevel::Roomy,
        Some(Level::Filling) => DiskLevel::Filling,
        Some(Level::Full) => DiskLevel::Full,
    };
    Disk {
        dir: dir.display().to_string(),
        room: room.map(|room| room.to_string()).unwrap_or_default(),
        level,
        sync_us: median_sync(dir).unwrap_or_default(),
        sync_us_max: 0,
    }
}

/// Microseconds that a small write takes to be on the disk.
fn median_sync(dir: &Path) -> io::Result<u64> {
    let file: File = tempfile::tempfile_in(dir)?;
    let (begun, mut took) = (Instant::now(), Vec::new());
    while took.len() < SYNCS && begun.elapsed() < SYNCS_WITHIN {
        let start = Instant::now();
        file.write_all_at(&[0; SYNC_BYTES], (took.len() * SYNC_BYTES) as u64)?;
        file.sync_data()?;
        took.push(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    took.sort_unstable();
    Ok(took.get(took.len() / 2).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_disk_is_measured_and_nothing_is_left_on_it() {
        let folder = tempfile::tempdir().unwrap();
        let rules = RoomRules { warn_percent: 100, full_percent: 100, free_bytes_min: 0 };
        let found = disk(folder.path(), &rules, Usage::default());
        assert!(found.sync_us > 0 && found.room.contains("% full"), "{found:?}");
        assert_eq!(found.level, DiskLevel::Roomy);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let nowhere = disk(Path::new("/nowhere"), &rules, Usage::default());
        assert_eq!((nowhere.sync_us, nowhere.level), (0, DiskLevel::Roomy));
    }

    #[test]
    fn certificates_tell_how_long_they_are_good() {
        let folder = tempfile::tempdir().unwrap();
        let made = crate::net::tls::make_own(folder.path(), &["localhost".to_owned()]).unwrap();
        let found = looked_at(&[made.certificate.clone(), folder.path().join("absent")]);
        assert!(found[0].error.is_none() && found[0].begins_ms < found[0].ends_ms, "{found:?}");
        assert!(found[1].error.as_ref().is_some_and(|error| error.contains("absent")), "{found:?}");
        let settings =
            |more: &[(&str, &str)]| Settings::from_pairs(&[&[("name", "localhost")], more].concat()).unwrap();
        assert!(certificates(&settings(&[])).is_empty());
        let own = settings(&[("client.auto_tls", "true"), ("data_dir", folder.path().to_str().unwrap())]);
        let file = certificates(&own).pop().unwrap();
        make_own_at(&file);
        assert!(validity(&file).is_ok());
    }

    fn make_own_at(file: &Path) {
        let made = crate::net::tls::make_own(file.parent().unwrap(), &["localhost".to_owned()]).unwrap();
        assert_eq!(made.certificate, file);
    }
}
