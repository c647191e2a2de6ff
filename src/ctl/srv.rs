//! `--discovery-srv DOMAIN`: where clients are served, by service records of DNS.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::node_ctl;
use crate::net::resolve::{Srv, resolve_srv, srv_name};

/// How long the name server may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// URLs of `_etcd-client-ssl._tcp.DOMAIN`, then of `_etcd-client._tcp.DOMAIN` if those without TLS are wanted; with `suffix` behind the
/// service's name.
///
/// # Errors
/// No records, or no answer.
pub fn endpoints(domain: &str, suffix: &str, plain: bool) -> anyhow::Result<Vec<String>> {
    let services = [("etcd-client-ssl", "https"), ("etcd-client", "http")];
    let asked: Vec<(String, &'static str)> = services
        .into_iter()
        .filter(|(_, scheme)| plain || *scheme == "https")
        .map(|(service, scheme)| (srv_name(service, suffix, domain), scheme))
        .collect();
    // Whoever calls may be within a runtime already.
    let asking = std::thread::spawn(move || node_ctl::runtime()?.block_on(ask(&asked)));
    asking.join().ok().context("asking the name server")?
}

async fn ask(asked: &[(String, &'static str)]) -> anyhow::Result<Vec<String>> {
    let (mut urls, mut failures) = (Vec::new(), Vec::new());
    for (name, scheme) in asked {
        match tokio::time::timeout(ANSWER_WITHIN, resolve_srv(name)).await {
            Ok(Ok(records)) => {
                let url = |Srv { target, port, .. }: Srv| format!("{scheme}://{}:{port}", target.trim_end_matches('.'));
                urls.extend(records.into_iter().map(url));
            }
            Ok(Err(error)) => failures.push(error.to_string()),
            Err(_) => failures.push(format!("{name}: no answer within {ANSWER_WITHIN:?}")),
        }
    }
    ensure!(!urls.is_empty(), "--discovery-srv: {}", failures.join("; "));
    Ok(urls)
}
