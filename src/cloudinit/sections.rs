//! The sections below `coreos:` that are plain lists of keys, in the order in which coreos-cloudinit writes them as variables.

/// What a key's value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Text,
    Whole,
    Number,
    Truth,
}

/// A key and the form of its value.
pub type Key = (&'static str, Form);

/// A section.
#[derive(Debug)]
pub struct Section {
    pub name: &'static str,
    /// What its variables begin with.
    prefix: &'static str,
    pub keys: &'static [Key],
    /// Variables that are not the prefix and the key in capitals.
    odd: &'static [(&'static str, &'static str)],
}

impl Section {
    /// The variable of a key.
    pub fn variable(&self, key: &str) -> String {
        let odd = self.odd.iter().find(|(odd, _)| *odd == key);
        odd.map_or_else(|| format!("{}{}", self.prefix, key.to_uppercase()), |(_, variable)| (*variable).to_owned())
    }
}

/// The section of a name.
pub fn find(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

use Form::{Number, Text, Truth, Whole};

/// All sections.
pub const SECTIONS: &[Section] = &[
    Section { name: "etcd", prefix: "ETCD_", keys: ETCD, odd: &[("snapshot_count", "ETCD_SNAPSHOTCOUNT")] },
    Section { name: "etcd2", prefix: "ETCD_", keys: ETCD2, odd: &[] },
    Section { name: "fleet", prefix: "FLEET_", keys: FLEET, odd: &[] },
    Section { name: "flannel", prefix: "FLANNELD_", keys: FLANNEL, odd: &[("interface", "FLANNELD_IFACE")] },
    Section {
        name: "locksmith",
        prefix: "LOCKSMITHD_",
        keys: LOCKSMITH,
        odd: &[("window_start", "REBOOT_WINDOW_START"), ("window_length", "REBOOT_WINDOW_LENGTH")],
    },
    Section { name: "update", prefix: "", keys: UPDATE, odd: &[] },
    Section { name: "oem", prefix: "", keys: OEM, odd: &[] },
];

const ETCD: &[Key] = &[
    ("addr", Text),
    ("advertise_client_urls", Text),
    ("bind_addr", Text),
    ("ca_file", Text),
    ("cert_file", Text),
    ("cluster_active_size", Whole),
    ("cluster_remove_delay", Number),
    ("cluster_sync_interval", Number),
    ("cors", Text),
    ("data_dir", Text),
    ("discovery", Text),
    ("discovery_fallback", Text),
    ("discovery_srv", Text),
    ("discovery_proxy", Text),
    ("election_timeout", Whole),
    ("force_new_cluster", Truth),
    ("graphite_host", Text),
    ("heartbeat_interval", Whole),
    ("http_read_timeout", Number),
    ("http_write_timeout", Number),
    ("initial_advertise_peer_urls", Text),
    ("initial_cluster", Text),
    ("initial_cluster_state", Text),
    ("initial_cluster_token", Text),
    ("key_file", Text),
    ("listen_client_urls", Text),
    ("listen_peer_urls", Text),
    ("max_result_buffer", Whole),
    ("max_retry_attempts", Whole),
    ("max_snapshots", Whole),
    ("max_wals", Whole),
    ("name", Text),
    ("peer_addr", Text),
    ("peer_bind_addr", Text),
    ("peer_ca_file", Text),
    ("peer_cert_file", Text),
    ("peer_election_timeout", Whole),
    ("peer_heartbeat_interval", Whole),
    ("peer_key_file", Text),
    ("peers", Text),
    ("peers_file", Text),
    ("proxy", Text),
    ("retry_interval", Number),
    ("snapshot", Truth),
    ("snapshot_count", Whole),
    ("trace", Text),
    ("verbose", Truth),
    ("very_verbose", Truth),
    ("very_very_verbose", Truth),
];

const ETCD2: &[Key] = &[
    ("advertise_client_urls", Text),
    ("ca_file", Text),
    ("cert_file", Text),
    ("client_cert_auth", Truth),
    ("cors", Text),
    ("data_dir", Text),
    ("debug", Truth),
    ("discovery", Text),
    ("discovery_fallback", Text),
    ("discovery_srv", Text),
    ("discovery_proxy", Text),
    ("election_timeout", Whole),
    ("enable_pprof", Truth),
    ("force_new_cluster", Truth),
    ("heartbeat_interval", Whole),
    ("initial_advertise_peer_urls", Text),
    ("initial_cluster", Text),
    ("initial_cluster_state", Text),
    ("initial_cluster_token", Text),
    ("key_file", Text),
    ("listen_client_urls", Text),
    ("listen_peer_urls", Text),
    ("log_package_levels", Text),
    ("max_snapshots", Whole),
    ("max_wals", Whole),
    ("name", Text),
    ("peer_ca_file", Text),
    ("peer_cert_file", Text),
    ("peer_key_file", Text),
    ("peer_client_cert_auth", Truth),
    ("peer_trusted_ca_file", Text),
    ("proxy", Text),
    ("proxy_dial_timeout", Whole),
    ("proxy_failure_wait", Whole),
    ("proxy_read_timeout", Whole),
    ("proxy_refresh_interval", Whole),
    ("proxy_write_timeout", Whole),
    ("snapshot_count", Whole),
    ("strict_reconfig_check", Truth),
    ("trusted_ca_file", Text),
    ("wal_dir", Text),
];

const FLEET: &[Key] = &[
    ("agent_ttl", Text),
    ("authorized_keys_file", Text),
    ("disable_engine", Truth),
    ("engine_reconcile_interval", Number),
    ("etcd_cafile", Text),
    ("etcd_certfile", Text),
    ("etcd_keyfile", Text),
    ("etcd_key_prefix", Text),
    ("etcd_request_timeout", Number),
    ("etcd_servers", Text),
    ("etcd_username", Text),
    ("etcd_password", Text),
    ("metadata", Text),
    ("public_ip", Text),
    ("token_limit", Whole),
    ("verbosity", Whole),
    ("verify_units", Truth),
];

const FLANNEL: &[Key] = &[
    ("etcd_endpoints", Text),
    ("etcd_cafile", Text),
    ("etcd_certfile", Text),
    ("etcd_keyfile", Text),
    ("etcd_prefix", Text),
    ("etcd_username", Text),
    ("etcd_password", Text),
    ("ip_masq", Text),
    ("subnet_file", Text),
    ("interface", Text),
    ("public_ip", Text),
];

const LOCKSMITH: &[Key] = &[
    ("endpoint", Text),
    ("etcd_cafile", Text),
    ("etcd_certfile", Text),
    ("etcd_keyfile", Text),
    ("etcd_username", Text),
    ("etcd_password", Text),
    ("group", Text),
    ("window_start", Text),
    ("window_length", Text),
];

const UPDATE: &[Key] = &[("reboot_strategy", Text), ("group", Text), ("server", Text)];

const OEM: &[Key] = &[("id", Text), ("name", Text), ("version_id", Text), ("home_url", Text), ("bug_report_url", Text)];
