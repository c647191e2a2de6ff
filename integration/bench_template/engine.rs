//! One configuration of nginx with a thousand upstreams, rendered by our engine and by Go's.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use corenode::confd::{Outside, Rendering, SourceTemplate, SrvRecord, View};

use super::Row;

const UPSTREAMS: usize = 1_000;
/// How long one engine renders again and again; the quickest counts.
const RENDERS_FOR: Duration = Duration::from_secs(2);

const TEMPLATE: &str = "upstream app {
{{range gets \"/app/server/*\"}}  server {{.Value}} max_fails=3; # {{base .Key}}
{{end}}}
server { listen 80; location / { proxy_pass http://app; } }
";

/// Nothing outside of the keys is asked for.
struct Nowhere;

impl Outside for Nowhere {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }
    fn file_exists(&self, _: &str) -> bool {
        false
    }
    fn lookup_ip(&self, _: &str) -> Vec<String> {
        Vec::new()
    }
    fn lookup_srv(&self, _: &str, _: &str, _: &str) -> Vec<SrvRecord> {
        Vec::new()
    }
    fn hostname(&self) -> Result<String, String> {
        Err("not asked for".to_owned())
    }
    fn interface_addresses(&self, _: &str) -> Vec<IpAddr> {
        Vec::new()
    }
    fn template_file(&self, _: &str) -> Result<Vec<u8>, String> {
        Err("not asked for".to_owned())
    }
    fn now(&self) -> jiff::Zoned {
        jiff::Zoned::now()
    }
}

/// Renders by both, in turns.
pub fn compare(dir: &Path, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    fs::create_dir_all(dir)?;
    let keys: BTreeMap<String, String> = (0..UPSTREAMS)
        .map(|number| (format!("/app/server/web-{number:04}"), format!("10.0.{}.{}:8080", number / 250, number % 250)))
        .collect();
    fs::write(dir.join("template"), TEMPLATE)?;
    fs::write(dir.join("keys"), keys.iter().map(|(key, value)| format!("{key}={value}\n")).collect::<String>())?;
    fs::write(dir.join("main.go"), include_str!("engine.go"))?;
    let built = Command::new("go").args(["build", "-o", "engine", "main.go"]).current_dir(dir).status();
    ensure!(built.context("go: install Debian's golang-go")?.success(), "go build failed");
    let (mut ratios, mut own_us) = (Vec::new(), f64::MAX);
    for _ in 0..3 {
        let output = Command::new(dir.join("engine")).args(["template", "keys"]).current_dir(dir).output()?;
        let text = String::from_utf8(output.stdout)?;
        let (nanos, length) = text.trim().split_once(' ').context("the Go program printed nothing")?;
        let (own, own_length) = render(&keys)?;
        ensure!(length.parse() == Ok(own_length), "the two engines differ: {length} and {own_length} bytes");
        own_us = own_us.min(own.as_secs_f64() * 1e6);
        ratios.push(own.as_nanos() as f64 / nanos.parse::<f64>()?);
    }
    ratios.sort_by(f64::total_cmp);
    println!("one render of {UPSTREAMS} upstreams: {own_us:.0} µs");
    rows.push(Row { name: "rendering 1,000 upstreams, ours / Go's, median", unit: "", value: ratios[1], most: 1.0 });
    Ok(())
}

fn render(keys: &BTreeMap<String, String>) -> anyhow::Result<(Duration, usize)> {
    let view = View::of(keys.iter().map(|(key, value)| (key.clone(), value.as_str())));
    let template = SourceTemplate::parse("nginx", TEMPLATE.as_bytes())?;
    let (mut best, mut length) = (Duration::MAX, 0);
    let end = Instant::now() + RENDERS_FOR;
    while Instant::now() < end {
        let began = Instant::now();
        let rendered = template.render(&view, &Nowhere, Rendering::default(), None);
        best = best.min(began.elapsed());
        length = rendered.result?.len();
    }
    Ok((best, length))
}
