//! What is wrong with a cluster, judged from what its nodes have said; nothing is asked here.

use jiff::Timestamp;

use crate::wire::checkup::{Certificate, DiskLevel, NodeReport, Silence};

/// Clocks of two members may differ by so much: leases and times of history go by the leader's.
const CLOCK_SKEW_MS_MAX: i64 = 500;
/// A certificate that ends sooner is to be replaced, one of a short life when a quarter of it is left.
const CERTIFICATE_MS_LEFT: i64 = 30 * 24 * 3_600_000;

/// What was collected.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub members: Vec<Member>,
    /// Units that there are.
    pub units: usize,
    /// Units that fit on no machine, each with what keeps it off the machines.
    pub waiting: Vec<(String, Vec<String>)>,
    /// The time here.
    pub now_ms: i64,
}

/// A member, and its word.
#[derive(Clone, Debug)]
pub struct Member {
    pub id: String,
    pub name: String,
    pub url: String,
    pub votes: bool,
    pub answer: Answer,
}

/// Whether a member answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// With the time here when it was asked and when it had answered.
    Report {
        report: Box<NodeReport>,
        asked_ms: i64,
        heard_ms: i64,
    },
    /// It has no such report: it is of another version.
    Unknown,
    None(String),
}

/// Something that is wrong, and what helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub what: String,
    pub remedy: String,
}

fn finding(what: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { what: what.into(), remedy: remedy.into() }
}

impl Member {
    pub fn report(&self) -> Option<&NodeReport> {
        match &self.answer {
            Answer::Report { report, .. } => Some(report),
            _ => None,
        }
    }

    /// Between how many milliseconds its clock is ahead of the one here.
    fn ahead(&self) -> Option<(i64, i64)> {
        match &self.answer {
            Answer::Report { report, asked_ms, heard_ms } => {
                Some((report.now_ms.saturating_sub(*heard_ms), report.now_ms.saturating_sub(*asked_ms)))
            }
            _ => None,
        }
    }
}

/// Everything that is wrong, the worst first.
pub fn verdicts(cluster: &Cluster) -> Vec<Finding> {
    let mut found = Vec::new();
    quorum(cluster, &mut found);
    found.extend(cluster.members.iter().filter_map(unreachable));
    silences(cluster, &mut found);
    alarms(cluster, &mut found);
    for member in &cluster.members {
        if let Some(report) = member.report() {
            disk(&member.name, report, &mut found);
            found.extend(report.certificates.iter().filter_map(|one| certificate(&member.name, one, cluster.now_ms)));
            found.extend(backups(&member.name, report));
        }
    }
    clocks(cluster, &mut found);
    versions(cluster, &mut found);
    units(cluster, &mut found);
    found
}

/// Whether a member takes part: it answered, or another one that did hears it.
fn lives(cluster: &Cluster, member: &Member) -> bool {
    let heard_by = |other: &Member| {
        let hears = |report: &NodeReport| report.silent.iter().all(|silence| silence.member != member.id);
        other.id != member.id && other.report().is_some_and(hears)
    };
    let silent = matches!(&member.answer, Answer::None(error) if !is_stranger(error));
    !silent || cluster.members.iter().any(heard_by)
}

/// Whether a member has answered, with a certificate of an authority that nobody here knows. The words are those of TLS.
fn is_stranger(error: &str) -> bool {
    error.contains("UnknownIssuer")
}

fn quorum(cluster: &Cluster, found: &mut Vec<Finding>) {
    let voters: Vec<&Member> = cluster.members.iter().filter(|member| member.votes).collect();
    let (count, needed) = (voters.len(), voters.len() / 2 + 1);
    let alive = voters.iter().filter(|member| lives(cluster, member)).count();
    let again = "bring back the members that are named here; one that is gone for good: `etcdctl member remove ID`, then \
                 `etcdctl member add` another";
    if alive < needed {
        let what = format!(
            "there is no quorum: {alive} of {count} voters are there and {needed} are needed; nothing can be written"
        );
        found.push(finding(what, "bring back the members that are named here; units go on running meanwhile"));
    } else if alive == needed && count > 2 {
        let what = format!(
            "the quorum is thin: {alive} of {count} voters are there and {needed} are needed; the loss of one more stops all writes"
        );
        found.push(finding(what, again));
    } else if count == 2 {
        let what = "the quorum is thin: of two voters both are needed, so that the loss of either stops all writes";
        found.push(finding(what, "add a third member: `etcdctl member add`"));
    }
    let leaders = cluster.members.iter().filter_map(|member| member.report()?.leader.as_ref());
    if alive >= needed && cluster.members.iter().any(|member| member.report().is_some()) && leaders.count() == 0 {
        found.push(finding(
            "no member knows a leader: an election is under way, or members do not reach each other",
            "look again in some seconds; if it stays so, let every member reach the others' peer URLs (`peer.listen`)",
        ));
    }
}

fn unreachable(member: &Member) -> Option<Finding> {
    let Answer::None(error) = &member.answer else { return None };
    if is_stranger(error) {
        let what = format!("{} ({}) cannot be asked: {error}", member.name, member.url);
        return Some(finding(
            what,
            "log in, so that the cluster's authority is known here: `node ctl login --name NAME`",
        ));
    }
    Some(finding(
        format!("{} ({}) does not answer: {error}", member.name, member.url),
        format!(
            "on that machine: `systemctl status node`, `journalctl -u node`; if it is gone for good: `etcdctl member remove {}`",
            member.id
        ),
    ))
}

/// Members that answer here, but not each other.
fn silences(cluster: &Cluster, found: &mut Vec<Finding>) {
    let answers = |silence: &&Silence| {
        let other = cluster.members.iter().find(|member| member.id == silence.member);
        other.is_some_and(|member| !matches!(member.answer, Answer::None(_)))
    };
    for member in &cluster.members {
        for silence in member.report().into_iter().flat_map(|report| &report.silent).filter(answers) {
            let Silence { name, for_ms, error, .. } = silence;
            found.push(finding(
                format!("{} has not heard {name} for {} s: {error}", member.name, for_ms / 1_000),
                format!(
                    "let {} reach the peer URL of {name}: look at firewalls and routes between the two",
                    member.name
                ),
            ));
        }
    }
}

fn alarms(cluster: &Cluster, found: &mut Vec<Finding>) {
    let mut raised: Vec<&String> = cluster.members.iter().filter_map(Member::report).flat_map(|r| &r.alarms).collect();
    raised.sort();
    raised.dedup();
    for alarm in raised {
        found.push(match alarm.as_str() {
            "CORRUPT" => finding(
                "the alarm CORRUPT is raised: members' data differ, and nothing is written any more",
                "compare members with `etcdctl endpoint hashkv --cluster`; replace the one that differs, then `etcdctl alarm disarm`",
            ),
            other => finding(
                format!("the alarm {other} is raised: writes that grow are refused"),
                "make room on the disk that is full; an alarm that was raised by hand ends by `etcdctl alarm disarm`",
            ),
        });
    }
}

fn disk(name: &str, report: &NodeReport, found: &mut Vec<Finding>) {
    let disk = &report.disk;
    let remedy = "delete keys or files there, or enlarge the disk";
    match disk.level {
        DiskLevel::Roomy => {}
        DiskLevel::Filling => {
            found.push(finding(format!("the disk of {name} ({}) is {}", disk.dir, disk.room), remedy));
        }
        DiskLevel::Full => found.push(finding(
            format!("the disk of {name} ({}) is full: {}; writes that grow are refused", disk.dir, disk.room),
            remedy,
        )),
    }
    if disk.sync_us_max > 0 && disk.sync_us > disk.sync_us_max {
        let (took, most) = (disk.sync_us / 1_000, disk.sync_us_max / 1_000);
        found.push(finding(
            format!("the disk of {name} ({}) takes {took} ms to sync a small write; more than {most} ms delays heartbeats", disk.dir),
            "put data_dir on a disk of its own, best an SSD; or raise heartbeat_ms and election_ms on every member alike",
        ));
    }
}

fn certificate(name: &str, one: &Certificate, now_ms: i64) -> Option<Finding> {
    let remedy = "put a new certificate and its key in the same places; nodes take them up by themselves";
    if let Some(error) = &one.error {
        return Some(finding(format!("a certificate of {name} cannot be read: {error}"), remedy));
    }
    let left = one.ends_ms.saturating_sub(now_ms);
    let least = CERTIFICATE_MS_LEFT.min(one.ends_ms.saturating_sub(one.begins_ms) / 4);
    let end = Timestamp::from_millisecond(one.ends_ms).map_or_else(|_| "?".to_owned(), |end| end.to_string());
    if left <= 0 {
        Some(finding(format!("the certificate {} of {name} has ended ({end})", one.file), remedy))
    } else if left < least {
        let hours = left / 3_600_000;
        let within = if hours < 48 { format!("{hours} hours") } else { format!("{} days", hours / 24) };
        Some(finding(format!("the certificate {} of {name} ends in {within} ({end})", one.file), remedy))
    } else if now_ms < one.begins_ms {
        Some(finding(
            format!("the certificate {} of {name} is not good yet", one.file),
            "set the clock of that machine, or of the one that made the certificate",
        ))
    } else {
        None
    }
}

fn backups(name: &str, report: &NodeReport) -> Option<Finding> {
    let failure = report.backup_failure.as_ref()?;
    Some(finding(
        format!("the last backup that {name} was to make was not made: {failure}"),
        "mend what is named, then `node ctl backup now`",
    ))
}

/// Each clock beside that of the leader, or of the first that answered. Only what is sure counts: an answer takes its time.
fn clocks(cluster: &Cluster, found: &mut Vec<Finding>) {
    let leader = cluster.members.iter().find_map(|member| member.report()?.leader.clone());
    let told = |member: &&Member| member.ahead().is_some();
    let leading = cluster.members.iter().filter(told).find(|member| Some(&member.id) == leader.as_ref());
    let Some(reference) = leading.or_else(|| cluster.members.iter().find(told)) else { return };
    let Some((low, high)) = reference.ahead() else { return };
    for member in cluster.members.iter().filter(|member| member.id != reference.id) {
        let Some((least, most)) = member.ahead() else { continue };
        let (least, most) = (least.saturating_sub(high), most.saturating_sub(low));
        let (by, direction) = match () {
            () if least > CLOCK_SKEW_MS_MAX => (least, "ahead of"),
            () if most < -CLOCK_SKEW_MS_MAX => (-most, "behind"),
            () => continue,
        };
        found.push(finding(
            format!("the clock of {} is at least {by} ms {direction} that of {}", member.name, reference.name),
            "let chrony or systemd-timesyncd keep the time on both machines (`timedatectl`)",
        ));
    }
}

fn versions(cluster: &Cluster, found: &mut Vec<Finding>) {
    let mut told: Vec<&str> =
        cluster.members.iter().filter_map(Member::report).map(|report| report.version.as_str()).collect();
    told.sort_unstable();
    told.dedup();
    if told.len() > 1 || cluster.members.iter().any(|member| matches!(member.answer, Answer::Unknown)) {
        let what = format!("members are of different versions ({})", told.join(", "));
        found.push(finding(what, "install the same version on all of them, one after the other"));
    }
}

fn units(cluster: &Cluster, found: &mut Vec<Finding>) {
    for (unit, reasons) in &cluster.waiting {
        let why = if reasons.is_empty() { "there is no machine".to_owned() } else { reasons.join("; ") };
        found.push(finding(
            format!("{unit} fits on no machine: {why}"),
            format!("bring a machine that it fits, or change what it asks for; `node ctl explain {unit}` shows every machine"),
        ));
    }
}
