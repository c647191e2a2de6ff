//! The settings with which the hosts of a lab are one cluster.

use crate::lab::Host;

/// What one host sets: the static cluster of all hosts, open to the lab's network.
pub fn settings(host: &Host, hosts: &[Host]) -> String {
    let members: Vec<String> = hosts.iter().map(|host| format!("{}=http://{}:2380", host.name, host.ip)).collect();
    let Host { name, ip } = host;
    format!(
        r#"initial_cluster = "{members}"
cluster_token = "walkthrough"

[peer]
listen = "{ip}:2380"

[client]
listen = ["0.0.0.0:2379"]
advertise = ["http://{ip}:2379"]

[fleet]
metadata = {{ host = "{name}", role = "web" }}
public_ip = "{ip}"
"#,
        members = members.join(",")
    )
}
