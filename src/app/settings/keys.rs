//! Every setting, once: its key, default and help. Flags, `NODE_*` variables, files and `--help` are all read off this table.

/// A setting. The key `peer.listen` is the flag `--peer-listen`, the variable `NODE_PEER_LISTEN` and `listen` in `[peer]` of a file.
pub struct Key {
    pub path: &'static str,
    /// As it would be written in a variable; lists are comma-separated.
    pub default: &'static str,
    pub help: &'static str,
}

/// All settings, in the order in which they are shown.
pub const KEYS: &[Key] = &[
    Key { path: "name", default: "", help: "this node's name; empty: the host's name" },
    Key { path: "data_dir", default: "/var/lib/node", help: "where the log, the state and units' journals lie" },
    Key {
        path: "initial_cluster",
        default: "",
        help: "the first members, name=peer-URL[,…]; empty: a cluster of this node alone",
    },
    Key {
        path: "initial_cluster_state",
        default: "new",
        help: "new: initial_cluster are the first members; existing: they run already and have added this one",
    },
    Key {
        path: "discovery",
        default: "",
        help: "a token's URL, http://host:port/TOKEN: the first members find each other there, in place of initial_cluster",
    },
    Key { path: "discovery_proxy", default: "", help: "host:port of an HTTP proxy before the discovery service" },
    Key {
        path: "discovery_srv",
        default: "",
        help: "a domain whose DNS records _etcd-server-ssl._tcp and _etcd-server._tcp name the first members, in place of initial_cluster",
    },
    Key {
        path: "discovery_srv_name",
        default: "",
        help: "what stands behind etcd-server in those records, with a hyphen",
    },
    Key {
        path: "discovery_wait",
        default: "10min",
        help: "how long a first start waits for the discovery service and the other members",
    },
    Key {
        path: "cluster_token",
        default: "etcd-cluster",
        help: "tells clusters apart that were made from the same addresses; the same on every member",
    },
    Key {
        path: "heartbeat_ms",
        default: "200",
        help: "milliseconds between the leader's heartbeats; unless it is set, never more than a fifth of election_ms",
    },
    Key { path: "election_ms", default: "1000", help: "milliseconds without a heartbeat before an election" },
    Key {
        path: "lease_reads",
        default: "false",
        help: "the leader answers reads without asking the others, for half of election_ms after their last word; the same \
               on every member, and only where no member's clock ever stands still",
    },
    Key {
        path: "history_keep",
        default: "24h",
        help: "so far back keys can be read and watched, for example 90min or 7d; off: age is no reason to forget",
    },
    Key {
        path: "history_max",
        default: "2GiB",
        help: "bytes of superseded and deleted values, the oldest go first; off: size is no reason to forget",
    },
    Key {
        path: "history_revisions",
        default: "off",
        help: "so many revisions are kept, fewer where age or size say so; off: number is no reason to forget",
    },
    Key {
        path: "identity",
        default: "",
        help: "the folder that `node init` and `node join` made: by its certificates members and clients are known; empty: by the files below",
    },
    Key {
        path: "voters",
        default: "5",
        help: "how many of the members that join vote, an odd number; the others follow and serve. The same on every member",
    },
    Key {
        path: "voter_lost_after",
        default: "5min",
        help: "a voter that is silent for so long loses its vote to a member that has none",
    },
    Key { path: "disk_warn_percent", default: "80", help: "a disk that is so full is worth a warning" },
    Key { path: "disk_full_percent", default: "95", help: "writes that grow are refused on a disk that is so full" },
    Key {
        path: "disk_free_min",
        default: "128MiB",
        help: "and where less than this is free, on a small disk less than an eighth of it",
    },
    Key { path: "peer.listen", default: "127.0.0.1:2380", help: "address:port[,…] for the other members" },
    Key { path: "peer.advertise", default: "", help: "peer URLs told to the others; empty: as in initial_cluster" },
    Key {
        path: "peer.cert_file",
        default: "",
        help: "certificate of this node, PEM; with it members are spoken to by TLS",
    },
    Key { path: "peer.key_file", default: "", help: "its key, PEM" },
    Key {
        path: "peer.trusted_ca_file",
        default: "",
        help: "who vouches for members, which need a certificate then, PEM; empty: none is asked for",
    },
    Key {
        path: "peer.client_cert_auth",
        default: "false",
        help: "members must come with a certificate; trusted_ca_file says so already",
    },
    Key { path: "peer.crl_file", default: "", help: "certificates of members that are taken no more, PEM or DER" },
    Key { path: "peer.auto_tls", default: "false", help: "without a certificate make one, for which nobody vouches" },
    Key { path: "peer.cert_allowed_cn", default: "", help: "the only common name that members may have; empty: any" },
    Key {
        path: "client.listen",
        default: "127.0.0.1:2379",
        help: "address:port[,…] for clients: etcd v2 and v3, fleet, health; http:// and https:// say which of them speak TLS",
    },
    Key { path: "client.advertise", default: "", help: "client URLs told to clients; empty: from client.listen" },
    Key {
        path: "client.socket",
        default: "/run/node/node.sock",
        help: "unix socket[,…] for clients on this machine; empty: none",
    },
    Key {
        path: "client.cert_file",
        default: "",
        help: "certificate of this node, PEM; with it clients are served by TLS",
    },
    Key { path: "client.key_file", default: "", help: "its key, PEM" },
    Key {
        path: "client.trusted_ca_file",
        default: "",
        help: "who vouches for clients, which need a certificate then, PEM; empty: none is asked for",
    },
    Key {
        path: "client.client_cert_auth",
        default: "false",
        help: "a client without a token is the user whom its certificate names (common name)",
    },
    Key { path: "client.crl_file", default: "", help: "certificates of clients that are taken no more, PEM or DER" },
    Key { path: "client.auto_tls", default: "false", help: "without a certificate make one, for which nobody vouches" },
    Key {
        path: "auth.token_ttl_seconds",
        default: "300",
        help: "seconds after its last use that a token of etcd v3's users lasts",
    },
    Key {
        path: "auth.bcrypt_cost",
        default: "10",
        help: "4 to 31: how hard new passwords are to guess, and to check; each step doubles it",
    },
    Key {
        path: "client.watch_progress_ms",
        default: "600000",
        help: "milliseconds of silence after which a watch that asked for it is told how far it is",
    },
    Key {
        path: "fleet.enabled",
        default: if cfg!(feature = "scheduler") { "true" } else { "false" },
        help: "take part in the cluster as a machine that runs units",
    },
    Key { path: "fleet.metadata", default: "", help: "k=v[,…], matched by MachineMetadata=" },
    Key {
        path: "fleet.public_ip",
        default: "",
        help: "address shown for this machine; empty: that of the default route",
    },
    Key { path: "fleet.machine_id", default: "", help: "32 hex digits; empty: /etc/machine-id" },
    Key {
        path: "fleet.presence_ms",
        default: "3000",
        help: "milliseconds of silence after which this machine counts as lost",
    },
    Key { path: "fleet.executor", default: "auto", help: "auto, systemd or process; auto: systemd where it is PID 1" },
    Key { path: "fleet.units_dir", default: "/run/fleet/units", help: "where unit files are written for systemd" },
    Key {
        path: "fleet.socket",
        default: "/run/fleet.sock",
        help: "unix socket where fleetctl looks by itself; empty: none",
    },
    Key {
        path: "docker.socket",
        default: if cfg!(feature = "docker") { "/var/run/docker.sock" } else { "" },
        help: "unix socket of the engine that runs .container units, Docker's or Podman's; empty: none are run",
    },
    Key {
        path: "template.enabled",
        default: if cfg!(feature = "template") { "true" } else { "false" },
        help: "render confd templates",
    },
    Key { path: "template.confdir", default: "/etc/confd", help: "conf.d/ and templates/ are looked for in it" },
    Key { path: "template.prefix", default: "", help: "put before the keys of every template resource" },
    Key {
        path: "backup.to",
        default: "",
        help: "where backups of the cluster go: a folder, or s3://BUCKET/PREFIX; empty: none are made",
    },
    Key {
        path: "backup.every",
        default: "24h",
        help: "how often the leader makes one; off: only `node ctl backup now` does",
    },
    Key {
        path: "backup.keep",
        default: "7",
        help: "so many of the newest are kept, older ones removed; off: all are kept",
    },
    Key {
        path: "backup.s3_endpoint",
        default: "",
        help: "URL of the S3-compatible store; empty: Amazon's of the region",
    },
    Key { path: "backup.s3_region", default: "us-east-1", help: "its region" },
    Key {
        path: "backup.s3_credentials_file",
        default: "",
        help: "aws_access_key_id and aws_secret_access_key, as Amazon's tools have them; empty: from the environment",
    },
    Key { path: "log.level", default: "info", help: "error, warn, info, debug or trace" },
];

impl Key {
    /// The command-line flag, without the dashes.
    pub fn flag(&self) -> String {
        self.path.replace(['.', '_'], "-")
    }

    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("NODE_{}", self.path.replace('.', "_").to_uppercase())
    }
}

/// The setting at `path`.
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The known word nearest to a mistyped one, if it is near enough to be meant.
pub fn nearest(word: &str, known: impl Iterator<Item = String>) -> Option<String> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(word, &candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len() / 3 + 1)
        .min()
        .map(|(_, candidate)| candidate)
}
