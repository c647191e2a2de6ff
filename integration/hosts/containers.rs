//! The web app of the walk-through as a `.container` template: ten instances over three hosts, each with an engine of its own,
//! nginx in front of them by a template; its image is changed under load, a bad one is taken back, and a host is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::app_image;
use crate::cluster::settings;
use crate::lab::{Install, Lab};
use crate::waits::wait_until;
use crate::{load, nginx};

const NAMES: [&str; 3] = ["core-01", "core-02", "core-03"];
const INSTANCES: usize = 10;
/// From a change until it is seen everywhere.
const SEEN_BOUND: Duration = Duration::from_secs(60);
/// The host that is lost. No requests go to nginx there.
const LOST: &str = "core-03";

/// Before the container is told to end its key is gone, and a second is time enough for every nginx to have heard of it.
const UNIT: &str = r#"[Unit]
Description=web server %i

[Container]
Image=web:VERSION
PublishPort=5000
HealthCmd=/bin/busybox wget -q -O /dev/null http://127.0.0.1:5000/
HealthInterval=2s
HealthRetries=2
StopTimeout=5

[Service]
ExecStop=/bin/sleep 1
Restart=always

[X-Fleet]
Spread=MachineID
Register=/services/web/%i
"#;

/// Plays it.
pub fn run() -> Result<()> {
    Lab::start(&NAMES, &Install { binary: &crate::binary(), settings })?.tell(|lab| {
        make_images(lab)?;
        serve(lab)?;
        change_the_image(lab)?;
        take_back_a_bad_one(lab)?;
        lose_a_host(lab)?;
        load::end(lab, "core-01")
    })
}

/// `web:1` and `web:2` tell their version; `web:3` runs and serves nothing.
fn make_images(lab: &Lab) -> Result<()> {
    let import = |version: &str, serve: &str| {
        let line = format!("echo version {version} >/www/index.html; exec {serve}");
        format!(r#"docker import -c 'ENTRYPOINT ["/bin/sh", "-c", "{line}"]' {} web:{version}"#, app_image::ARCHIVE)
    };
    let server = "/bin/sh /serve";
    let lines = [import("1", server), import("2", server), import("3", "/bin/busybox sleep 1000")].join(" && ");
    NAMES.iter().try_for_each(|host| lab.exec(host, &["sh", "-c", &lines])?.ok().map(drop))
}

/// Ten instances are applied, and nginx of every host follows their registrations.
fn serve(lab: &Lab) -> Result<()> {
    lab.shell("core-01", "mkdir units; for i in $(seq 10); do ln -s web@.container units/web@$i.container; done")?
        .ok()?;
    write_unit(lab, "1")?;
    for host in NAMES {
        let of_services =
            |text: &str| text.replace("/app/server", "/services/web").replace("app/server", "services/web");
        // What was asked of a host when it was lost is asked of another.
        let template =
            nginx::TEMPLATE.replace("proxy_connect_timeout", "proxy_read_timeout 5s;\n        proxy_connect_timeout");
        nginx::start_nginx(lab, host)?;
        lab.write_file(host, "/etc/confd/templates/nginx.conf.tmpl", &of_services(&template))?;
        lab.write_file(host, "/etc/confd/conf.d/nginx.toml", &of_services(nginx::RESOURCE))?;
    }
    lab.shell("core-01", "node ctl apply --settle 0 --timeout 60 units/")?.ok()?;
    let placed = all_serve(lab, &NAMES)?;
    ensure!(placed.values().all(|count| (3..=4).contains(count)), "they are not spread: {placed:?}");
    says(lab, "1")?;
    let asked: Vec<&str> = lab.hosts().iter().filter(|host| host.name != LOST).map(|host| host.ip.as_str()).collect();
    load::begin(lab, "core-01", &asked)
}

/// Instance after instance gets the new image, and nobody's request fails.
fn change_the_image(lab: &Lab) -> Result<()> {
    write_unit(lab, "2")?;
    lab.shell("core-01", "node ctl apply --max-parallel 3 --settle 0 --timeout 60 units/")?.ok()?;
    all_serve(lab, &NAMES)?;
    says(lab, "2")?;
    load::no_request_fails(lab, "core-01")
}

/// The first instances of an image that never gets healthy are taken back; the rest are not touched.
fn take_back_a_bad_one(lab: &Lab) -> Result<()> {
    let before = containers(lab)?;
    write_unit(lab, "3")?;
    let told = lab.shell("core-01", "node ctl apply --max-parallel 2 --settle 0 --timeout 20 units/")?.exits_with(1)?;
    ensure!(told.stdout.contains("not well within 20 s: it is "), "{told}");
    all_serve(lab, &NAMES)?;
    says(lab, "2")?;
    let kept = containers(lab)?.into_iter().filter(|id| before.contains(id)).count();
    ensure!(kept == INSTANCES - 2, "{kept} containers were left alone");
    load::no_request_fails(lab, "core-01")
}

/// The power of a host fails: its instances come up on the others, and are found there.
fn lose_a_host(lab: &Lab) -> Result<()> {
    lab.power_off(LOST)?;
    let placed = all_serve(lab, &NAMES[..2])?;
    ensure!(placed.len() == 2, "{placed:?}");
    says(lab, "2")?;
    load::no_request_fails(lab, "core-01")
}

fn write_unit(lab: &Lab, version: &str) -> Result<()> {
    lab.write_file("core-01", "/root/units/web@.container", &UNIT.replace("VERSION", version))
}

/// Waits until every instance runs on one of these hosts and all of their nginx know where; how many each host has.
fn all_serve(lab: &Lab, hosts: &[&str]) -> Result<BTreeMap<String, usize>> {
    let mut placed = BTreeMap::new();
    wait_until(&format!("{INSTANCES} instances to be found on {hosts:?}"), SEEN_BOUND, || {
        let keys = lab.exec("core-01", &["etcdctl", "get", "--prefix", "/services/web/"])?.ok()?.stdout;
        let found: Vec<&str> = keys.lines().filter(|line| !line.starts_with('/')).collect();
        placed.clear();
        for at in &found {
            let ip = at.split(':').next().context("an address")?;
            let host = lab.hosts().iter().find(|host| host.ip == ip).with_context(|| format!("no host is {ip}"))?;
            *placed.entry(host.name.clone()).or_insert(0) += 1;
        }
        ensure!(found.len() == INSTANCES && placed.keys().all(|host| hosts.contains(&&**host)), "{keys}");
        for host in hosts {
            let upstreams = lab.exec(host, &["cat", "/etc/nginx/sites-enabled/app.conf"])?.ok()?.stdout;
            let missing: Vec<_> = found.iter().filter(|at| !upstreams.contains(&format!("server {at} "))).collect();
            ensure!(
                missing.is_empty() && upstreams.matches("max_fails").count() == INSTANCES,
                "{host} has\n{upstreams}"
            );
        }
        Ok(true)
    })?;
    Ok(placed)
}

/// Every instance answers with this version, through nginx.
fn says(lab: &Lab, version: &str) -> Result<()> {
    let expected = format!("version {version}\n").repeat(INSTANCES);
    let line = format!("for n in $(seq {INSTANCES}); do curl -sf --max-time 20 http://127.0.0.1/ || exit 1; done");
    wait_until("all instances to answer through nginx", SEEN_BOUND, || {
        let said = lab.exec("core-02", &["sh", "-c", &line])?.ok()?.stdout;
        ensure!(said == expected, "{said}");
        Ok(true)
    })
}

/// The ids of the containers that run anywhere.
fn containers(lab: &Lab) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for host in NAMES {
        let listed =
            lab.exec(host, &["docker", "ps", "-q", "--no-trunc", "--filter", "label=io.corenode.unit"])?.ok()?;
        all.extend(listed.stdout.lines().map(str::to_owned));
    }
    Ok(all)
}
