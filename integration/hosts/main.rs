//! Tests on three real hosts with systemd and Docker. `make integration` runs them, as root; see provision.sh and lab.rs.

mod app_image;
mod birth;
mod cluster;
mod command;
mod containers;
mod exclusive;
mod executor;
mod faults;
mod fleetd;
mod inside;
mod inside_units;
mod lab;
mod load;
mod machine_faults;
mod nginx;
mod podman;
mod sessions;
mod smoke;
mod stage;
mod tables;
mod timers;
mod tutorials;
mod units;
mod upgrade;
mod waits;
mod walkthrough;

use std::path::PathBuf;

/// The unit of the walk-through: a web server in a container, at most one on a machine.
const CLOJURE_HTTP: &str = "[Unit]
Description=clojure-http
After=docker.service
Requires=docker.service

[Service]
ExecStart=/usr/bin/docker run --name clojure-http-%i --rm -p 5000:5000 -e PORT=5000 wtfleming/docker-compojure-hello-world
ExecStop=/usr/bin/docker stop clojure-http-%i

[X-Fleet]
Conflicts=clojure-http@*.service
";

/// The program that is tested.
fn binary() -> PathBuf {
    std::env::var_os("CORENODE_BINARY").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_node")), PathBuf::from)
}

#[test]
fn hosts_boot_serve_and_keep_their_disk() -> anyhow::Result<()> {
    smoke::run()
}

#[test]
fn walkthrough() -> anyhow::Result<()> {
    walkthrough::run()
}

#[test]
fn the_tutorials_cloud_configs_make_a_cluster() -> anyhow::Result<()> {
    tutorials::run()
}

#[test]
fn an_exclusive_unit_runs_on_one_host_at_a_time() -> anyhow::Result<()> {
    exclusive::run()
}

#[test]
fn timers_run_once_wherever_they_are() -> anyhow::Result<()> {
    timers::run()
}

#[test]
fn hosts_become_a_cluster_by_a_command_each_and_a_lost_one_is_made_up_for() -> anyhow::Result<()> {
    birth::run()
}

#[test]
fn a_cluster_is_upgraded_under_load_and_nothing_is_lost() -> anyhow::Result<()> {
    upgrade::run()
}

#[test]
fn nginx_follows_the_keys() -> anyhow::Result<()> {
    nginx::run()
}

#[test]
fn containers_are_changed_lost_and_taken_back_under_load() -> anyhow::Result<()> {
    containers::run()
}

#[test]
fn podman_looks_at_health_by_systemds_timers() -> anyhow::Result<()> {
    podman::run()
}

#[test]
fn commands_run_in_units_from_elsewhere() -> anyhow::Result<()> {
    sessions::run()
}

#[test]
fn systemd_does_what_the_executor_asks() -> anyhow::Result<()> {
    executor::run()
}

#[test]
fn faults_of_machines_touch_no_other_units() -> anyhow::Result<()> {
    faults::run()
}

#[test]
fn faults_beside_the_node_touch_no_units() -> anyhow::Result<()> {
    machine_faults::run()
}

#[test]
fn fleetd_runs_units_around_an_etcd() -> anyhow::Result<()> {
    fleetd::run()
}

#[test]
#[ignore = "plays one story on a host, where another test starts it"]
fn inside_a_host() -> anyhow::Result<()> {
    inside::play(&std::env::var(executor::STORY)?)
}
