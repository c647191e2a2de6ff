//! Requests that go on while other things happen: to nginx of some hosts in turn, the code of every answer noted.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::lab::Lab;
use crate::waits::wait_until;

/// Requests that must have been answered after a change.
const REQUESTS: usize = 20;
const GOES_ON_BOUND: Duration = Duration::from_secs(60);

const SCRIPT: &str = r#"while [ ! -e /run/load.stop ]; do
    for ip in $*; do curl -s -o /dev/null -w '%{http_code}\n' --max-time 30 "http://$ip/" >>/run/load.codes; done
    sleep 0.02
done"#;

/// Begins to ask from one host.
pub fn begin(lab: &Lab, from: &str, ips: &[&str]) -> Result<()> {
    lab.write_file(from, "/root/load.sh", SCRIPT)?;
    let line = format!("systemd-run --unit load sh /root/load.sh {}", ips.join(" "));
    lab.exec(from, &["sh", "-c", &line])?.ok().map(drop)
}

/// After some more requests: all of them were answered.
pub fn no_request_fails(lab: &Lab, from: &str) -> Result<()> {
    let codes = || -> Result<Vec<String>> {
        let text = lab.exec(from, &["cat", "/run/load.codes"])?.ok()?.stdout;
        Ok(text.lines().map(str::to_owned).collect())
    };
    let before = codes()?.len();
    wait_until("requests to go on", GOES_ON_BOUND, || Ok(codes()?.len() >= before + REQUESTS))?;
    let failed: Vec<String> = codes()?.into_iter().filter(|code| code != "200").collect();
    ensure!(failed.is_empty(), "requests failed: {failed:?}");
    Ok(())
}

/// No more requests; every one of them was answered.
pub fn end(lab: &Lab, from: &str) -> Result<()> {
    let codes = lab.shell(from, "touch /run/load.stop; sort /run/load.codes | uniq -c")?.ok()?;
    let mut kinds = codes.stdout.lines();
    ensure!(kinds.next().is_some_and(|line| line.trim().ends_with(" 200")) && kinds.next().is_none(), "{codes}");
    Ok(())
}
