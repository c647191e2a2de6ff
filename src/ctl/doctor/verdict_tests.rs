//! Tables of what nodes say, and what is made of it.

#![allow(clippy::unwrap_used)]

use super::verdict::{Answer, Cluster, Member, verdicts};
use crate::wire::checkup::{Certificate, Disk, DiskLevel, NodeReport, Silence};

const NOW: i64 = 1_800_000_000_000;
const DAY: i64 = 86_400_000;

/// Member `n` as it should be.
fn well(n: u64) -> NodeReport {
    NodeReport {
        now_ms: NOW,
        version: "1.0.0".into(),
        member: format!("{n}"),
        leader: Some("1".into()),
        disk: Disk { dir: "/d".into(), sync_us: 900, sync_us_max: 50_000, ..Disk::default() },
        ..NodeReport::default()
    }
}

fn member(n: u64, answer: Answer) -> Member {
    Member { id: n.to_string(), name: format!("n{n}"), url: format!("http://h{n}:1"), votes: true, answer }
}

fn says(report: NodeReport) -> Answer {
    Answer::Report { report: Box::new(report), asked_ms: NOW - 20, heard_ms: NOW + 20 }
}

fn gone() -> Answer {
    Answer::None("refused".into())
}

fn stranger() -> Answer {
    Answer::None("invalid peer certificate: UnknownIssuer".into())
}

fn cluster(answers: Vec<Answer>) -> Cluster {
    let members = (1..).zip(answers).map(|(n, answer)| member(n, answer)).collect();
    Cluster { members, now_ms: NOW, ..Cluster::default() }
}

/// Exactly these are found, in any words that contain these, and each has a remedy.
fn found(what: &str, cluster: &Cluster, expected: &[&str]) {
    let findings = verdicts(cluster);
    assert_eq!(findings.len(), expected.len(), "{what}: {findings:#?}");
    for (finding, expected) in findings.iter().zip(expected) {
        assert!(finding.what.contains(expected), "{what}: not said: {expected}\n{findings:#?}");
        assert!(!finding.remedy.is_empty(), "{what}: {finding:?}");
    }
}

#[test]
fn a_healthy_cluster_has_nothing() {
    for size in [1, 3, 5] {
        found("healthy", &cluster((1..=size).map(|n| says(well(n))).collect()), &[]);
    }
    let unit = ("a.service".to_owned(), vec!["m1: no ssd".to_owned()]);
    found(
        "a unit",
        &Cluster { waiting: vec![unit], ..cluster(vec![says(well(1))]) },
        &["a.service fits on no machine: m1: no ssd"],
    );
}

#[test]
fn quorums() {
    let here = |n| says(well(n));
    let deaf = |n, others: &[u64]| {
        let silence =
            |other: &u64| Silence { member: other.to_string(), name: format!("n{other}"), ..Silence::default() };
        says(NodeReport { silent: others.iter().map(silence).collect(), ..well(n) })
    };
    let lost = |n: u64| says(NodeReport { leader: None, ..well(n) });
    let cases: [(&str, Vec<Answer>, &[&str]); 8] = [
        ("two", vec![here(1), here(2)], &["of two voters both"]),
        (
            "one of three is away",
            vec![deaf(1, &[3]), deaf(2, &[3]), gone()],
            &["quorum is thin: 2 of 3", "n3 (http://h3:1) does not answer: refused"],
        ),
        ("its door alone is shut", vec![here(1), here(2), gone()], &["n3 (http://h3:1)"]),
        ("two of three are away", vec![deaf(1, &[2, 3]), gone(), gone()], &["no quorum: 1 of 3", "n2 ", "n3 "]),
        ("one of five is away", vec![deaf(1, &[5]), deaf(2, &[5]), deaf(3, &[5]), deaf(4, &[5]), gone()], &["n5 "]),
        ("a road is cut", vec![deaf(1, &[2]), here(2), here(3)], &["n1 has not heard n2 for 0 s"]),
        ("nobody is logged in", vec![stranger(), stranger()], &["both", "n1 (http://h1:1) cannot be asked", "n2 "]),
        ("nobody leads", vec![lost(1), lost(2), lost(3)], &["no member knows a leader"]),
    ];
    for (what, answers, expected) in cases {
        found(what, &cluster(answers), expected);
    }
    let mut learning = cluster(vec![here(1), gone()]);
    learning.members[1].votes = false;
    found("a learner has no vote", &learning, &["n2 (http://h2:1) does not answer"]);
}

#[test]
fn disks() {
    let disk =
        |level, sync_us| Disk { dir: "/d".into(), room: "96 % full".into(), level, sync_us, sync_us_max: 50_000 };
    for (disk, expected) in [
        (disk(DiskLevel::Roomy, 50_000), [].as_slice()),
        (disk(DiskLevel::Filling, 1), &["the disk of n1 (/d) is 96 % full"]),
        (disk(DiskLevel::Full, 1), &["(/d) is full: 96 % full; writes that grow are refused"]),
        (disk(DiskLevel::Roomy, 80_000), &["takes 80 ms to sync a small write; more than 50 ms"]),
        (Disk { sync_us_max: 0, ..disk(DiskLevel::Roomy, 80_000) }, &[]),
    ] {
        found("disk", &cluster(vec![says(NodeReport { disk, ..well(1) })]), expected);
    }
}

#[test]
fn certificates() {
    let from = |begins: i64, ends: i64| Certificate {
        file: "c.pem".into(),
        begins_ms: NOW + begins * DAY,
        ends_ms: NOW + ends * DAY,
        error: None,
    };
    for (certificate, expected) in [
        (from(-100, 100), [].as_slice()),
        (from(-700, 29), &["c.pem of n1 ends in 29 days (2027-"]),
        (from(-700, 1), &["ends in 24 hours"]),
        (from(-700, -1), &["c.pem of n1 has ended"]),
        (from(1, 100), &["is not good yet"]),
        // Of a week: there is time until a quarter of it is left.
        (from(-4, 3), &[]),
        (from(-6, 1), &["ends in 24 hours"]),
        (Certificate { error: Some("c.pem: denied".into()), ..Certificate::default() }, &["c.pem: denied"]),
    ] {
        let report = NodeReport { certificates: vec![certificate.clone()], ..well(1) };
        found(&format!("{certificate:?}"), &cluster(vec![says(report)]), expected);
    }
}

#[test]
fn clocks() {
    let at = |n, ahead: i64| says(NodeReport { now_ms: NOW + ahead, ..well(n) });
    for (second, third, expected) in [
        (0, 0, [].as_slice()),
        (400, -400, &[]),
        // An answer that takes 40 ms leaves as much unsure on both sides.
        (530, -530, &[]),
        (700, 0, &["n2 is at least 660 ms ahead of that of n1"]),
        (0, -5_000, &["n3 is at least 4960 ms behind that of n1"]),
    ] {
        found(&format!("{second} {third}"), &cluster(vec![at(1, 0), at(2, second), at(3, third)]), expected);
    }
    // The clock where the doctor runs is nobody's measure.
    found("ours", &cluster(vec![at(1, 9_000), at(2, 9_000), at(3, 9_000)]), &[]);
}

#[test]
fn alarms_backups_and_versions() {
    let with = |change: fn(&mut NodeReport)| {
        let mut report = well(2);
        change(&mut report);
        cluster(vec![says(well(1)), says(report), says(well(3))])
    };
    found("corrupt", &with(|report| report.alarms = vec!["CORRUPT".into()]), &["the alarm CORRUPT"]);
    found("space", &with(|report| report.alarms = vec!["NOSPACE".into()]), &["the alarm NOSPACE"]);
    found(
        "backup",
        &with(|report| report.backup_failure = Some("no bucket".into())),
        &["n2 was to make was not made: no bucket"],
    );
    found("version", &with(|report| report.version = "0.9.0".into()), &["different versions (0.9.0, 1.0.0)"]);
    let mut unknown = cluster(vec![says(well(1)), says(well(2)), says(well(3))]);
    unknown.members[2].answer = Answer::Unknown;
    found("no report", &unknown, &["different versions"]);
}
