//! What differs from cluster to cluster, or from moment to moment, as words that do not.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Patterns and what stands in their place. Version numbers go too: ours speaks as a later etcd.
static PATTERNS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let pattern = |(text, place): &(&str, &'static str)| (Regex::new(text).unwrap(), *place);
    [
        (
            r#"("?(?:raft_term|RaftTerm|raftTerm|raftIndex|raftAppliedIndex|RaftIndex|RaftAppliedIndex)"? ?: ?)\d+"#,
            "${1}N",
        ),
        // What a small store has in use is nothing until it is first flushed.
        (r#","dbSizeInUse":\d+"#, ""),
        (r#"("?(?:dbSize|dbSizeInUse|DBSize|DBSizeInUse)"? ?: ?)\d+"#, "${1}N"),
        (r#"("?(?:hash|Hash)"? ?: ?)\d+"#, "${1}N"),
        (r#"("?(?:ttl|TTL)"? ?: ?)(?:[1-9]\d|[1-9])\b"#, "${1}N"),
        // What is left of 600 seconds and of thousands goes by while the table does; other numbers are compared.
        (r#"("?(?:ttl|TTL)"? ?: ?)5\d{2}\b"#, "${1}N"),
        (r#"("?(?:ttl|TTL)"? ?: ?)[1-9]\d{3}\b"#, "${1}N"),
        (r#""expiration":"[^"]+""#, r#""expiration":"TIME""#),
        (r"(?m), (true|false), (true|false), \d+, \d+, \d+, ", ", $1, $2, N, N, N, "),
        (r"(?m)^((?:http://)?E\d), \d+$", "$1, HASH"),
        (r"-{3,}", "---"),
        (r" {2,}", " "),
        (r"\| (true|false) \| (true|false) \| \d+ \| \d+ \| \d+ \|", "| $1 | $2 | N | N | N |"),
        (r"\| E1 \| \d+ \|", "| E1 | HASH |"),
        (r"\b(\w+/)[0-9a-f]{12,16}\b", "${1}LEASE"),
        (r"(?s)\n\ngoroutine .*", ""),
        (r"remaining\(\d+s\)", "remaining(Ns)"),
        (r"took = \S+", "took = N"),
        (r#""took":"[^"]+""#, "\"took\":\"N\""),
        (r#"("Took" : )"[^"]+""#, "${1}\"N\""),
        (r"\b\d+(?:\.\d+)? [kM]?B\b", "N kB"),
        (r"\b[1-9]\d*\.\d+(?:\.\d+)?(?:[mµn]s|s)\b", "Ns"),
        (r"\b3\.[45]\.\d+\b", "3.X.Y"),
        (r#"("ID":)\d{12,}(,"TTL")"#, "${1}LEASE${2}"),
        (r"endpoint://client-[0-9a-f-]+/", "endpoint://client/"),
        (r"passthrough:///", ""),
    ]
    .iter()
    .map(pattern)
    .collect()
});

/// What a cluster's own words become.
#[derive(Default)]
pub struct Mask {
    words: Vec<(String, String)>,
}

impl Mask {
    /// A word of this cluster, and what it stands for in every cluster.
    pub fn word(&mut self, word: impl Into<String>, place: impl Into<String>) {
        self.words.push((word.into(), place.into()));
        self.words.sort_by_key(|(word, _)| std::cmp::Reverse(word.len()));
    }

    /// An id as etcdctl writes it: hexadecimal with and without leading zeros, and decimal.
    pub fn id(&mut self, id: u64, place: &str) {
        self.word(format!("{id:016x}"), place);
        self.word(format!("{id:x}"), place);
        self.word(id.to_string(), place);
    }

    pub fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (word, place) in &self.words {
            text = text.replace(word, place);
        }
        for (pattern, place) in PATTERNS.iter() {
            text = pattern.replace_all(&text, *place).into_owned();
        }
        LISTS.iter().fold(text, |text, (list, separator)| sorted(&text, list, separator))
    }
}

/// Lists in an order that differs: a lease's keys, plain and in JSON, which etcd gives in that of a Go map, and members, which
/// come in the order of their ids.
static LISTS: LazyLock<[(Regex, &str); 3]> = LazyLock::new(|| {
    [
        (Regex::new(r"(attached keys\(\[)([^\]]*)(\])").unwrap(), " "),
        (Regex::new(r#"("keys":\[)([^\]]*)(\])"#).unwrap(), ","),
        (Regex::new(r#"(ETCD_INITIAL_CLUSTER=")([^"]*)(")"#).unwrap(), ","),
    ]
});

fn sorted(text: &str, list: &Regex, separator: &str) -> String {
    let in_order = |found: &Captures<'_>| {
        let mut items: Vec<&str> = found[2].split(separator).collect();
        items.sort_unstable();
        format!("{}{}{}", &found[1], items.join(separator), &found[3])
    };
    list.replace_all(text, in_order).into_owned()
}
