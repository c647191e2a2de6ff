//! What must be the same of two answers: status, body, the headers that etcd sets; times within a bound.

use serde_json::Value;

use crate::http::Answer;

/// Headers whose values are the same on both sides.
pub const SAME: &[&str] = &[
    "X-Etcd-Index",
    "Content-Type",
    "Allow",
    "Location",
    "X-Content-Type-Options",
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Headers",
];
/// Headers that are there on both sides or on none.
pub const THERE: &[&str] = &["X-Raft-Index", "X-Raft-Term", "X-Etcd-Cluster-Id"];
/// Times to live, and the moments when they end, may differ by this much: both are asked at about the same time.
const SECONDS_APART_MAX: i64 = 60;

/// How two answers differ; `None`: they do not. `sorted`: the order of nodes counts.
pub fn difference(etcd: &Answer, ours: &Answer, sorted: bool) -> Option<String> {
    if etcd.status != ours.status {
        return Some("status".to_owned());
    }
    for name in SAME {
        if etcd.header(name) != ours.header(name) {
            return Some(format!("{name}: {:?}, ours {:?}", etcd.header(name), ours.header(name)));
        }
    }
    for name in THERE {
        if etcd.header(name).is_some() != ours.header(name).is_some() {
            return Some(format!("{name}: {:?}, ours {:?}", etcd.header(name), ours.header(name)));
        }
    }
    (!same_body(&etcd.body, &ours.body, sorted)).then(|| "body".to_owned())
}

/// Whether two bodies, or two lines of a stream, are the same.
pub fn same_body(etcd: &str, ours: &str, sorted: bool) -> bool {
    if etcd == ours {
        return true;
    }
    let (Ok(mut one), Ok(mut other)) = (serde_json::from_str::<Value>(etcd), serde_json::from_str::<Value>(ours))
    else {
        return false;
    };
    let times = [&mut one, &mut other].map(|value| {
        if !sorted {
            sort_nodes(value);
        }
        let mut times = Vec::new();
        take_times(value, &mut times);
        times
    });
    let near = |(a, b): (&i64, &i64)| (a - b).abs() <= SECONDS_APART_MAX;
    // Fields in their order: a parsed object forgets it, so the texts are compared too.
    one == other
        && times[0].len() == times[1].len()
        && times[0].iter().zip(&times[1]).all(near)
        && (!sorted || masked(etcd) == masked(ours))
}

fn sort_nodes(value: &mut Value) {
    if let Some(nodes) = value.get_mut("nodes").and_then(Value::as_array_mut) {
        nodes.sort_by_key(|node| node["key"].to_string());
        nodes.iter_mut().for_each(sort_nodes);
    }
    for name in ["node", "prevNode"] {
        if let Some(node) = value.get_mut(name) {
            sort_nodes(node);
        }
    }
}

/// Takes out what depends on the time, as seconds.
fn take_times(value: &mut Value, times: &mut Vec<i64>) {
    match value {
        Value::Object(fields) => {
            if let Some(ttl) = fields.remove("ttl").and_then(|ttl| ttl.as_i64()) {
                times.push(ttl);
            }
            if let Some(end) = fields.remove("expiration") {
                let end = end.as_str().and_then(|end| end.parse::<jiff::Timestamp>().ok());
                times.push(end.map_or(i64::MIN, jiff::Timestamp::as_second));
            }
            fields.values_mut().for_each(|value| take_times(value, times));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| take_times(value, times)),
        _ => {}
    }
}

/// The text with the same in the place of all times. What was no UTF-8 in a value is shown alike, written in two ways.
fn masked(text: &str) -> String {
    let times = regex::Regex::new(r#""expiration":"[^"]*"|"ttl":\d+"#).unwrap();
    times.replace_all(text, "TIME").replace("\\ufffd", "\u{fffd}")
}
