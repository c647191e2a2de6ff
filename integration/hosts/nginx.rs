//! The confd walk-through: units register in `/app/server/%i`, nginx on each host follows, and requests go on meanwhile;
//! first by the nodes themselves, then by `confd -onetime` and `confd -interval 10`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cluster::settings;
use crate::lab::{Host, Install, Lab};
use crate::load;
use crate::units::invocation;
use crate::waits::wait_until;

const NAMES: [&str; 3] = ["core-01", "core-02", "core-03"];
const PORTS: [u16; 4] = [5000, 5001, 5002, 5003];
/// From a change until it is seen on every host, by `confd -interval 10` too.
const SEEN_BOUND: Duration = Duration::from_secs(60);

/// The resource, as people have it.
pub const RESOURCE: &str = r#"[template]
keys = [ "app/server" ]
owner = "nginx"
mode = "0644"
src = "nginx.conf.tmpl"
dest = "/etc/nginx/sites-enabled/app.conf"
check_cmd = "/usr/sbin/nginx -t -c /etc/nginx/nginx.conf"
reload_cmd = "/usr/sbin/service nginx reload"
"#;

pub const TEMPLATE: &str = r#"upstream app {
{{range gets "/app/server/*"}}    server {{.Value}} max_fails=0; # {{base .Key}}
{{else}}    server 127.0.0.1:1;
{{end}}}

server {
    listen 80 default_server;
    location / {
        proxy_pass http://app;
        proxy_next_upstream error timeout;
        proxy_connect_timeout 2s;
    }
}
"#;

const MOTTO: &str = "server { listen 8081; location / { return 200 '{{getv \"/motto\"}}'; } }\n";

const UNIT: &str = "[Unit]
Description=A web server on port %i

[Service]
EnvironmentFile=/etc/host.env
ExecStart=/usr/bin/perl /opt/sinatra.pl %i
ExecStartPost=/usr/bin/etcdctl set /app/server/%i ${HOST_IP}:%i
ExecStop=/usr/bin/etcdctl rm /app/server/%i
";

/// One request after the other; told to stop, it answers the one it has and ends.
const SERVER: &str = r#"use strict; use IO::Socket::INET;
my $port = shift; my $stop = 0; $SIG{TERM} = sub { $stop = 1 };
my $listener = IO::Socket::INET->new(LocalPort => $port, Listen => 128, ReuseAddr => 1) or die "$port: $!";
until ($stop) {
    my $client = $listener->accept or next;
    while (my $line = <$client>) { last if $line =~ /^\r?$/ }
    print $client "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n$port\n";
    close $client;
}
"#;

/// Ready when its trap is set.
const SIGNALLED: &str = r#"[Service]
Type=notify
NotifyAccess=all
ExecStart=/bin/sh -c 'trap "touch /run/signal.seen" USR1; systemd-notify --ready; while :; do sleep 0.1; done'
"#;

/// Plays it.
pub fn run() -> Result<()> {
    Lab::start(&NAMES, &Install { binary: &crate::binary(), settings })?.tell(|lab| {
        prepare(lab)?;
        start(lab)?;
        by_the_nodes(lab)?;
        by_units(lab)?;
        by_confd(lab)
    })
}

/// Files, the user that the resource names, and nginx.
fn prepare(lab: &Lab) -> Result<()> {
    for Host { name, ip } in lab.hosts() {
        lab.write_file(name, "/opt/sinatra.pl", SERVER)?;
        lab.write_file(name, "/etc/host.env", &format!("HOST_IP={ip}\n"))?;
        lab.write_file(name, "/etc/confd/templates/nginx.conf.tmpl", TEMPLATE)?;
        start_nginx(lab, name)?;
    }
    lab.write_file("core-01", "/root/sinatra@.service", UNIT)
}

/// nginx with nothing to serve yet, and the user that the resource names.
pub fn start_nginx(lab: &Lab, host: &str) -> Result<()> {
    let script = "useradd --system --user-group nginx; rm -f /etc/nginx/sites-enabled/default; systemctl start nginx";
    lab.exec(host, &["sh", "-c", script])?.ok().map(drop)
}

/// Four instances are started, and the resource is put on every host: nodes take it up by themselves.
fn start(lab: &Lab) -> Result<()> {
    lab.shell("core-01", "fleetctl submit sinatra@.service")?.ok()?;
    let units: Vec<String> = PORTS.iter().map(|port| format!("sinatra@{port}")).collect();
    lab.shell("core-01", &format!("fleetctl start {}", units.join(" ")))?.ok()?;
    for Host { name, .. } in lab.hosts() {
        lab.write_file(name, "/etc/confd/conf.d/nginx.toml", RESOURCE)?;
    }
    lists_are(lab, &NAMES, &PORTS, SEEN_BOUND)?;
    let ips: Vec<&str> = lab.hosts().iter().map(|host| host.ip.as_str()).collect();
    for ip in &ips {
        wait_until("nginx to answer", SEEN_BOUND, || {
            let answer = lab.exec("core-01", &["curl", "-sf", "--max-time", "2", &format!("http://{ip}/")])?.ok()?;
            Ok(answer.stdout.starts_with("500"))
        })?;
    }
    load::begin(lab, "core-01", &ips)
}

/// Instances go and come; nginx on all hosts follows.
fn by_the_nodes(lab: &Lab) -> Result<()> {
    for gone in [5003, 5000] {
        turn(lab, "stop", gone)?;
        let rest: Vec<u16> = PORTS.into_iter().filter(|port| *port != gone).collect();
        lists_are(lab, &NAMES, &rest, SEEN_BOUND)?;
        load::no_request_fails(lab, "core-01")?;
        turn(lab, "start", gone)?;
        lists_are(lab, &NAMES, &PORTS, SEEN_BOUND)?;
        load::no_request_fails(lab, "core-01")?;
    }
    wait_until("all hosts to tell of the resource", SEEN_BOUND, || {
        let told = lab.exec("core-02", &["node", "ctl", "templates"])?.ok()?;
        let rows = told.stdout.lines().filter(|line| line.starts_with("nginx ") && line.contains(" ok ")).count();
        ensure!(rows == NAMES.len(), "{told}");
        Ok(true)
    })?;
    lab.shell("core-02", "node ctl templates")?.ok()?;
    let traced = lab.shell("core-03", "node ctl trace /app/server/5000")?.ok()?;
    ensure!(traced.stdout.contains("/etc/nginx/sites-enabled/app.conf replaced; reloaded by"), "{traced}");
    Ok(())
}

/// Resources that name a unit in the place of a command: one that can be reloaded is, another is restarted, one gets a signal, and
/// a reload that fails is due until it succeeds.
fn by_units(lab: &Lab) -> Result<()> {
    let host = "core-02";
    for (name, dest, unit) in [
        ("motto", "/etc/nginx/conf.d/motto.conf", "nginx.service"),
        ("plain", "/run/plain", "plain.service"),
        ("later", "/run/later", "later.service"),
        ("signal", "/run/signal", "signal.service\"\nreload_signal = \"USR1"),
    ] {
        let resource = format!(
            "[template]\nkeys = [\"/motto\"]\nsrc = \"{name}.tmpl\"\ndest = \"{dest}\"\nreload_unit = \"{unit}\"\n"
        );
        lab.write_file(host, &format!("/etc/confd/templates/{name}.tmpl"), MOTTO)?;
        lab.write_file(host, &format!("/etc/confd/conf.d/{name}.toml"), &resource)?;
    }
    lab.write_file(host, "/etc/systemd/system/plain.service", "[Service]\nExecStart=/bin/sleep infinity\n")?;
    lab.write_file(host, "/etc/systemd/system/signal.service", SIGNALLED)?;
    lab.shell(host, "systemctl daemon-reload; systemctl start plain signal")?.ok()?;
    let (nginx, plain) = (invocation(lab, host, "nginx")?, invocation(lab, host, "plain")?);
    lab.shell(host, "etcdctl set /motto first")?.ok()?;
    wait_until("nginx to have the motto", SEEN_BOUND, || {
        let answer = lab.exec(host, &["curl", "-s", "--max-time", "2", "http://127.0.0.1:8081/"])?.ok()?;
        Ok(answer.stdout == "first")
    })?;
    ensure!(invocation(lab, host, "nginx")? == nginx, "nginx was restarted where a reload does");
    wait_until("plain.service to be restarted", SEEN_BOUND, || Ok(invocation(lab, host, "plain")? != plain))?;
    wait_until("signal.service to get its signal", SEEN_BOUND, || {
        Ok(lab.exec(host, &["test", "-e", "/run/signal.seen"])?.code == 0)
    })?;
    wait_until("the failed reload to be told", SEEN_BOUND, || {
        let told = lab.exec(host, &["node", "ctl", "templates", "later"])?;
        ensure!(told.stdout.contains("Unit later.service not found."), "{told}");
        Ok(true)
    })?;
    lab.write_file(host, "/etc/systemd/system/later.service", "[Service]\nExecStart=/bin/sleep infinity\n")?;
    lab.shell(host, "systemctl daemon-reload")?.ok()?;
    wait_until("the reload to be made up for", SEEN_BOUND, || invocation(lab, host, "later").map(|_| true))?;
    let traced = lab.shell(host, "node ctl trace /motto")?.ok()?;
    ensure!(traced.stdout.contains("/etc/nginx/conf.d/motto.conf replaced; reloaded by `nginx.service`"), "{traced}");
    Ok(())
}

/// The node of one host leaves its templates alone, and `confd` does them there.
fn by_confd(lab: &Lab) -> Result<()> {
    let (host, ip) = ("core-01", &lab.host("core-01")?.ip);
    lab.write_file(host, "/etc/node/node.toml.d/template.toml", "[template]\nenabled = false\n")?;
    lab.shell(host, "systemctl restart node")?.ok()?;
    turn(lab, "stop", 5002)?;
    lists_are(lab, &["core-02", "core-03"], &[5000, 5001, 5003], SEEN_BOUND)?;
    ensure!(list(lab, host)? == PORTS, "a node that is told to leave templates alone does not");
    let confd = format!("-node http://{ip}:2379 -config-file /etc/confd/conf.d/nginx.toml");
    let once = lab.shell(host, &format!("confd -onetime {confd}"))?.ok()?;
    ensure!(once.stderr.contains("Target config /etc/nginx/sites-enabled/app.conf has been updated"), "{once}");
    lists_are(lab, &NAMES, &[5000, 5001, 5003], SEEN_BOUND)?;
    load::no_request_fails(lab, "core-01")?;
    lab.shell(host, &format!("systemd-run --unit confd confd -interval 10 {confd}"))?.ok()?;
    turn(lab, "start", 5002)?;
    lists_are(lab, &NAMES, &PORTS, SEEN_BOUND)?;
    load::no_request_fails(lab, "core-01")?;
    load::end(lab, host)?;
    let owner = lab.exec("core-02", &["stat", "-c", "%U %a", "/etc/nginx/sites-enabled/app.conf"])?.ok()?;
    ensure!(owner.stdout == "nginx 644\n", "{owner}");
    Ok(())
}

fn turn(lab: &Lab, verb: &str, port: u16) -> Result<()> {
    lab.shell("core-03", &format!("fleetctl {verb} sinatra@{port}"))?.ok().map(drop)
}

/// The ports in a host's configuration of nginx.
fn list(lab: &Lab, host: &str) -> Result<Vec<u16>> {
    let text = lab.exec(host, &["cat", "/etc/nginx/sites-enabled/app.conf"])?.ok()?.stdout;
    let port = |line: &str| line.split_once("# ").map(|(_, port)| port.parse().context("a port"));
    text.lines().filter_map(port).collect()
}

fn lists_are(lab: &Lab, hosts: &[&str], ports: &[u16], bound: Duration) -> Result<()> {
    for host in hosts {
        wait_until(&format!("nginx of {host} to have {ports:?}"), bound, || {
            let found = list(lab, host)?;
            ensure!(found == ports, "{found:?}");
            Ok(true)
        })?;
    }
    Ok(())
}
