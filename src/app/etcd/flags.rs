//! Every flag of etcd 3.4 to 3.6, once: what values it takes, and what becomes of it here.
//!
//! Source: `etcd --help` of 3.4.23 and the flag tables of etcd's configuration pages for 3.5 and 3.6.

/// What a flag's value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Truth,
    /// A whole number.
    Number,
    /// `1h15m30.5s`, as Go writes durations.
    Duration,
    OneOf(&'static [&'static str]),
}

/// What becomes of a flag here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is followed.
    Followed,
    /// There is nothing here that it could steer.
    Nothing,
    /// What it asks for is not served yet and its lack harms nobody: said when it is set to something else than the default.
    NotYet,
    /// What it asks for is not served and going on without it would mislead: refused when it is set to something else
    /// than the default, for this reason.
    Refused(&'static str),
}

/// A flag.
pub struct Flag {
    pub name: &'static str,
    pub kind: Kind,
    /// etcd's default; empty where it is computed or means "off".
    pub default: &'static str,
    pub fate: Fate,
}

const TLS: Fate = Fate::Refused(
    "this limit on TLS is not served; leave it out, or keep those away whom it is to keep away by certificates",
);
const TOKENS: Fate = Fate::Refused("tokens are of one kind; leave it out, or write `simple`");
const ORIGINS: Fate = Fate::Refused("limits on origins and host names are not served yet; every one is answered");
const DISCOVERY: Fate = Fate::Refused(
    "discovery as etcd 3.6 has it is not served yet; use --discovery or --discovery-srv, or write the members into --initial-cluster",
);
const PROXY: Fate = Fate::Refused("proxies are not served; point clients to the members");
const METRICS: Fate =
    Fate::Refused("a listener of its own for metrics is not served yet; every client URL has /metrics and /health");
const FORCE: Fate = Fate::Refused("a new cluster out of one member's data is not served yet");

const fn flag(name: &'static str, kind: Kind, default: &'static str, fate: Fate) -> Flag {
    Flag { name, kind, default, fate }
}

const fn followed(name: &'static str, kind: Kind, default: &'static str) -> Flag {
    flag(name, kind, default, Fate::Followed)
}

const fn nothing(name: &'static str, kind: Kind) -> Flag {
    flag(name, kind, "", Fate::Nothing)
}

use Kind::{Duration, Number, OneOf, Text, Truth};

/// All flags.
pub const FLAGS: &[Flag] = &[
    followed("version", Truth, "false"),
    followed("config-file", Text, ""),
    followed("name", Text, "default"),
    followed("data-dir", Text, ""),
    followed("heartbeat-interval", Number, "100"),
    followed("election-timeout", Number, "1000"),
    followed("listen-peer-urls", Text, "http://localhost:2380"),
    followed("listen-client-urls", Text, "http://localhost:2379"),
    followed("listen-client-http-urls", Text, ""),
    followed("initial-advertise-peer-urls", Text, "http://localhost:2380"),
    followed("advertise-client-urls", Text, "http://localhost:2379"),
    followed("initial-cluster", Text, ""),
    followed("initial-cluster-state", OneOf(&["new", "existing"]), "new"),
    followed("initial-cluster-token", Text, "etcd-cluster"),
    followed("discovery", Text, ""),
    followed("discovery-proxy", Text, ""),
    followed("discovery-srv", Text, ""),
    followed("discovery-srv-name", Text, ""),
    // Who is one too many is refused: nobody becomes a proxy.
    flag("discovery-fallback", OneOf(&["proxy", "exit"]), "exit", Fate::NotYet),
    followed("auth-token-ttl", Number, "300"),
    followed("bcrypt-cost", Number, "10"),
    followed("log-level", OneOf(&["debug", "info", "warn", "error", "dpanic", "panic", "fatal"]), "info"),
    followed("log-format", OneOf(&["json", "console"]), "json"),
    followed("log-outputs", Text, "default"),
    followed("logger", OneOf(&["zap", "capnslog"]), "zap"),
    followed("debug", Truth, "false"),
    followed("auto-compaction-retention", Text, "0"),
    followed("auto-compaction-mode", OneOf(&["periodic", "revision"]), "periodic"),
    // Upkeep and tuning of machinery that is built otherwise here.
    nothing("snapshot-count", Number),
    nothing("snapshot-catchup-entries", Number),
    nothing("initial-election-tick-advance", Truth),
    nothing("max-snapshots", Number),
    nothing("max-wals", Number),
    nothing("quota-backend-bytes", Number),
    nothing("backend-bbolt-freelist-type", OneOf(&["array", "map"])),
    nothing("backend-batch-interval", Duration),
    nothing("backend-batch-limit", Number),
    nothing("grpc-keepalive-min-time", Duration),
    nothing("grpc-keepalive-interval", Duration),
    nothing("grpc-keepalive-timeout", Duration),
    nothing("socket-reuse-port", Truth),
    nothing("socket-reuse-address", Truth),
    nothing("raft-read-timeout", Duration),
    nothing("raft-write-timeout", Duration),
    nothing("pre-vote", Truth),
    nothing("v2-deprecation", Text),
    nothing("enable-v2v3", Text),
    nothing("enable-pprof", Truth),
    nothing("metrics", OneOf(&["basic", "extensive"])),
    nothing("log-package-levels", Text),
    nothing("unsafe-no-fsync", Truth),
    nothing("feature-gates", Text),
    nothing("initial-corrupt-check", Truth),
    nothing("corrupt-check-time", Duration),
    nothing("compact-hash-check-enabled", Truth),
    nothing("compact-hash-check-time", Duration),
    nothing("enable-lease-checkpoint", Truth),
    nothing("enable-lease-checkpoint-persist", Truth),
    nothing("compaction-batch-limit", Number),
    nothing("compaction-sleep-interval", Duration),
    nothing("downgrade-check-time", Duration),
    nothing("memory-mlock", Truth),
    nothing("warning-apply-duration", Duration),
    nothing("warning-unary-request-duration", Duration),
    nothing("txn-mode-write-with-shared-buffer", Truth),
    nothing("bootstrap-defrag-threshold-megabytes", Number),
    nothing("stop-grpc-service-on-defrag", Truth),
    nothing("wait-cluster-ready-timeout", Duration),
    nothing("proxy-failure-wait", Number),
    nothing("proxy-refresh-interval", Number),
    nothing("proxy-dial-timeout", Number),
    nothing("proxy-write-timeout", Number),
    nothing("proxy-read-timeout", Number),
    nothing("discovery-dial-timeout", Duration),
    nothing("discovery-request-timeout", Duration),
    nothing("discovery-keepalive-time", Duration),
    nothing("discovery-keepalive-timeout", Duration),
    nothing("discovery-insecure-transport", Truth),
    nothing("self-signed-cert-validity", Number),
    flag("wal-dir", Text, "", Fate::NotYet),
    flag("max-txn-ops", Number, "128", Fate::NotYet),
    flag("max-request-bytes", Number, "1572864", Fate::NotYet),
    flag("max-concurrent-streams", Number, "4294967295", Fate::NotYet),
    flag("max-learners", Number, "1", Fate::NotYet),
    // Changes of members are always checked.
    flag("strict-reconfig-check", Truth, "true", Fate::Nothing),
    flag("enable-v2", Truth, "true", Fate::NotYet),
    flag("enable-grpc-gateway", Truth, "true", Fate::NotYet),
    followed("watch-progress-notify-interval", Duration, "10m"),
    flag("enable-log-rotation", Truth, "false", Fate::NotYet),
    nothing("log-rotation-config-json", Text),
    flag("set-member-localaddr", Truth, "false", Fate::NotYet),
    flag("enable-distributed-tracing", Truth, "false", Fate::NotYet),
    nothing("distributed-tracing-address", Text),
    nothing("distributed-tracing-service-name", Text),
    nothing("distributed-tracing-instance-id", Text),
    nothing("distributed-tracing-sampling-rate", Number),
    flag("discovery-token", Text, "", DISCOVERY),
    flag("discovery-endpoints", Text, "", DISCOVERY),
    flag("discovery-insecure-skip-tls-verify", Truth, "false", DISCOVERY),
    flag("discovery-cert", Text, "", DISCOVERY),
    flag("discovery-key", Text, "", DISCOVERY),
    flag("discovery-cacert", Text, "", DISCOVERY),
    flag("discovery-user", Text, "", DISCOVERY),
    flag("discovery-password", Text, "", DISCOVERY),
    // For the gateway's calls to its own node, which are not made here.
    nothing("client-cert-file", Text),
    nothing("client-key-file", Text),
    followed("cert-file", Text, ""),
    followed("key-file", Text, ""),
    followed("client-cert-auth", Truth, "false"),
    followed("client-crl-file", Text, ""),
    flag("client-cert-allowed-hostname", Text, "", TLS),
    followed("trusted-ca-file", Text, ""),
    followed("auto-tls", Truth, "false"),
    followed("peer-cert-file", Text, ""),
    followed("peer-key-file", Text, ""),
    followed("peer-client-cert-auth", Truth, "false"),
    followed("peer-trusted-ca-file", Text, ""),
    followed("peer-cert-allowed-cn", Text, ""),
    flag("peer-cert-allowed-hostname", Text, "", TLS),
    followed("peer-auto-tls", Truth, "false"),
    followed("peer-crl-file", Text, ""),
    // Certificates of members that connect are not compared with the address that they come from.
    nothing("peer-skip-client-san-verification", Truth),
    flag("cipher-suites", Text, "", TLS),
    flag("tls-min-version", OneOf(&["TLS1.2", "TLS1.3"]), "TLS1.2", TLS),
    flag("tls-max-version", OneOf(&["", "TLS1.2", "TLS1.3"]), "", TLS),
    flag("auth-token", Text, "simple", TOKENS),
    flag("cors", Text, "*", ORIGINS),
    flag("host-whitelist", Text, "*", ORIGINS),
    flag("listen-metrics-urls", Text, "", METRICS),
    flag("proxy", OneOf(&["off", "readonly", "on"]), "off", PROXY),
    flag("force-new-cluster", Truth, "false", FORCE),
];

/// Followed flags that began as `--experimental-…`.
const ONCE_EXPERIMENTAL: [&str; 1] = ["watch-progress-notify-interval"];

/// The flag of a name. What was experimental in one version and not in another has both names.
pub fn find(name: &str) -> Option<&'static Flag> {
    let exact = |name: &str| FLAGS.iter().find(|flag| flag.name == name);
    exact(name).or_else(|| {
        let tried = exact(name.strip_prefix("experimental-")?)?;
        (tried.fate != Fate::Followed || ONCE_EXPERIMENTAL.contains(&tried.name)).then_some(tried)
    })
}

/// The variable that stands for a flag.
pub fn variable(name: &str) -> String {
    format!("ETCD_{}", name.replace('-', "_").to_uppercase())
}

/// A value in the one form that the rest of the face reads, if it is of its kind.
pub fn normal(kind: Kind, value: &str) -> Option<String> {
    match kind {
        Text => Some(value.to_owned()),
        Truth => truth(value).map(|truth| truth.to_string()),
        Number => number(value).map(|number| number.to_string()),
        Duration => is_duration(value).then(|| value.to_owned()),
        OneOf(values) => values.contains(&value).then(|| value.to_owned()),
    }
}

/// The texts that Go's `strconv.ParseBool` takes.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Go's flags take decimal, and other bases by their prefix.
fn number(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let lower = digits.to_ascii_lowercase();
    let size = match lower.get(..2) {
        Some("0x") => i64::from_str_radix(lower.get(2..)?, 16),
        Some("0b") => i64::from_str_radix(lower.get(2..)?, 2),
        Some("0o") => i64::from_str_radix(lower.get(2..)?, 8),
        _ if lower.len() > 1 && lower.starts_with('0') => i64::from_str_radix(&lower, 8),
        _ => lower.parse(),
    };
    size.ok().map(|size| if negative { -size } else { size })
}

/// Whether Go's `time.ParseDuration` takes the text.
fn is_duration(text: &str) -> bool {
    milliseconds(text).is_some()
}

/// A duration as Go's `time.ParseDuration` reads it, in milliseconds.
pub fn milliseconds(text: &str) -> Option<f64> {
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Some(0.0);
    }
    let (mut parts, mut sum) = (0, 0.0);
    while !rest.is_empty() {
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let size = &rest[..rest.len() - after.len()];
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let unit_ms = match unit {
            "ns" => 1e-6,
            "us" | "µs" | "μs" => 1e-3,
            "ms" => 1.0,
            "s" => 1e3,
            "m" => 60e3,
            "h" => 3600e3,
            _ => return None,
        };
        sum += size.parse::<f64>().ok()? * unit_ms;
        (rest, parts) = (next, parts + 1);
    }
    (parts > 0).then_some(sign * sum)
}
