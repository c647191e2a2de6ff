//! What etcdctl puts together from the answers of several endpoints, and the rows of its tables.

use std::time::Duration;

use super::Answer;
use super::answers::headed;
use super::fields::Fields;
use super::json::{Object, list, string};
use super::table::table;
use crate::wire::etcdserverpb::{HashKvResponse, Member, StatusResponse};

/// A member as a line of a table has it.
pub fn member_row(member: &Member) -> [String; 6] {
    [
        format!("{:x}", member.id),
        if member.name.is_empty() { "unstarted" } else { "started" }.to_owned(),
        member.name.clone(),
        member.peer_ur_ls.join(","),
        member.client_ur_ls.join(","),
        member.is_learner.to_string(),
    ]
}

/// Endpoints and what each said of itself.
pub struct Status(pub Vec<(String, StatusResponse)>);

impl Status {
    /// An endpoint as a line has it.
    pub fn row((endpoint, status): &(String, StatusResponse)) -> [String; 10] {
        let member = status.header.map_or(0, |header| header.member_id);
        [
            endpoint.clone(),
            format!("{member:x}"),
            status.version.clone(),
            human_bytes(status.db_size),
            (status.leader == member).to_string(),
            status.is_learner.to_string(),
            status.raft_term.to_string(),
            status.raft_index.to_string(),
            status.raft_applied_index.to_string(),
            status.errors.join(", "),
        ]
    }
}

impl Answer for Status {
    fn json(&self) -> String {
        let one = |(endpoint, status): &(String, StatusResponse)| {
            let status = headed(status.header.as_ref())
                .text("version", &status.version)
                .number("dbSize", status.db_size)
                .number("leader", status.leader)
                .number("raftIndex", status.raft_index)
                .number("raftTerm", status.raft_term)
                .number("raftAppliedIndex", status.raft_applied_index)
                .texts("errors", &status.errors)
                .number("dbSizeInUse", status.db_size_in_use)
                .truth("isLearner", status.is_learner);
            Object::default().raw("Endpoint", string(endpoint)).raw("Status", status.end()).end()
        };
        list(self.0.iter().map(one))
    }

    fn fields(&self) -> Option<String> {
        let one = |(endpoint, status): &(String, StatusResponse)| {
            Fields::of(status.header.as_ref())
                .text("Version", &status.version)
                .line("DBSize", status.db_size)
                .line("Leader", status.leader)
                .line("IsLearner", status.is_learner)
                .line("RaftIndex", status.raft_index)
                .line("RaftTerm", status.raft_term)
                .line("RaftAppliedIndex", status.raft_applied_index)
                .line("Errors", format!("[{}]", status.errors.join(" ")))
                .text("Endpoint", endpoint)
                .gap()
                .end()
        };
        Some(self.0.iter().map(one).collect())
    }

    fn table(&self) -> Option<String> {
        let heads = [
            "ENDPOINT",
            "ID",
            "VERSION",
            "DB SIZE",
            "IS LEADER",
            "IS LEARNER",
            "RAFT TERM",
            "RAFT INDEX",
            "RAFT APPLIED INDEX",
            "ERRORS",
        ];
        Some(table(heads, &self.0.iter().map(Self::row).collect::<Vec<_>>()))
    }
}

/// Two digits and a unit of a thousand, as etcdctl shows sizes.
fn human_bytes(bytes: i64) -> String {
    let mut size = bytes as f64;
    let mut units = ["B", "kB", "MB", "GB"].iter();
    let mut unit = units.next().copied().unwrap_or("B");
    while size >= 1000.0 {
        let Some(next) = units.next() else { break };
        size /= 1000.0;
        unit = next;
    }
    if size < 10.0 && unit != "B" { format!("{size:.1} {unit}") } else { format!("{size:.0} {unit}") }
}

/// Endpoints, how long each took, and what was wrong.
pub struct Health(pub Vec<(String, Duration, Result<(), String>)>);

/// A time as Go writes it.
pub fn took(took: Duration) -> String {
    let nanos = took.as_nanos() as f64;
    let (value, unit) = match nanos {
        n if n >= 1e9 => (n / 1e9, "s"),
        n if n >= 1e6 => (n / 1e6, "ms"),
        n if n >= 1e3 => (n / 1e3, "µs"),
        n => (n, "ns"),
    };
    format!("{value}{unit}")
}

impl Answer for Health {
    fn json(&self) -> String {
        let one = |(endpoint, took, outcome): &(String, Duration, Result<(), String>)| {
            Object::default()
                .raw("endpoint", string(endpoint))
                .raw("health", outcome.is_ok())
                .raw("took", string(&self::took(*took)))
                .text("error", outcome.as_ref().err().map_or("", String::as_str))
                .end()
        };
        list(self.0.iter().map(one))
    }

    fn fields(&self) -> Option<String> {
        let one = |(endpoint, took, outcome): &(String, Duration, Result<(), String>)| {
            Fields::default()
                .text("Endpoint", endpoint)
                .line("Health", outcome.is_ok())
                .line("Took", self::took(*took))
                .line("Error", outcome.as_ref().err().map_or("", String::as_str))
                .gap()
                .end()
        };
        Some(self.0.iter().map(one).collect())
    }

    fn table(&self) -> Option<String> {
        let row = |(endpoint, took, outcome): &(String, Duration, Result<(), String>)| {
            let error = outcome.as_ref().err().cloned().unwrap_or_default();
            [endpoint.clone(), outcome.is_ok().to_string(), self::took(*took), error]
        };
        Some(table(["ENDPOINT", "HEALTH", "TOOK", "ERROR"], &self.0.iter().map(row).collect::<Vec<_>>()))
    }
}

/// Endpoints and their hashes.
pub struct Hash(pub Vec<(String, HashKvResponse)>);

impl Answer for Hash {
    fn json(&self) -> String {
        let one = |(endpoint, hash): &(String, HashKvResponse)| {
            let hash = headed(hash.header.as_ref())
                .number("hash", hash.hash)
                .number("compact_revision", hash.compact_revision);
            Object::default().raw("Endpoint", string(endpoint)).raw("HashKV", hash.end()).end()
        };
        list(self.0.iter().map(one))
    }

    fn fields(&self) -> Option<String> {
        let one = |(endpoint, hash): &(String, HashKvResponse)| {
            Fields::of(hash.header.as_ref()).text("Endpoint", endpoint).line("Hash", hash.hash).gap().end()
        };
        Some(self.0.iter().map(one).collect())
    }

    fn table(&self) -> Option<String> {
        let row = |(endpoint, hash): &(String, HashKvResponse)| [endpoint.clone(), hash.hash.to_string()];
        Some(table(["ENDPOINT", "HASH"], &self.0.iter().map(row).collect::<Vec<_>>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_as_etcdctl_does() {
        for (bytes, expected) in [(20_480, "20 kB"), (512, "512 B"), (1_234_567, "1.2 MB"), (25_000_000_000, "25 GB")] {
            assert_eq!(human_bytes(bytes), expected);
        }
        assert_eq!(took(Duration::from_nanos(1_201_431)), "1.201431ms");
        assert_eq!(took(Duration::from_micros(15)), "15µs");
    }
}
