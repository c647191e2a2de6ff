//! `node join TOKEN`: one more machine of a cluster that is there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use hyper::Method;

use super::Plan;
use super::service;
use crate::app::host::SystemClock;
use crate::app::listeners::certificate_hosts;
use crate::app::node::store_dir;
use crate::base::Clock as _;
use crate::net::tls::{ClientTls, Request, certificates_in, fingerprint_of, request};
use crate::net::{Address, http};
use crate::raft::{self, Peer, Place};
use crate::trust::{Token, hex};
use crate::wire::joining::{JOIN_PATH, Join, Joined, Refused};

/// How long a member may take to answer: it may be looking for a leader.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long a cluster may be busy with other newcomers.
const LET_IN_WITHIN: Duration = Duration::from_secs(180);
/// Pause before it is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Asks the cluster, keeps what it gave, and starts the service.
pub fn run(plan: &Plan) -> anyhow::Result<()> {
    plan.check_free()?;
    let token: Token = text(plan)?.parse()?;
    let now = SystemClock.now();
    ensure!(
        now < token.until,
        "this token has expired at {} by this machine's clock; make one with `node ctl token create` on a member",
        jiff::Timestamp::from_millisecond(token.until.0).map(|at| format!("{at:.0}")).unwrap_or_default()
    );
    let settings = &plan.settings;
    let Request { key, text: certificate_request } = request(&certificate_hosts(settings))?;
    let own_urls = settings.peers.iter().find(|peer| peer.name == settings.name).map(|peer| peer.urls.clone());
    let asked = Join {
        token: token.id.clone(),
        secret: hex(&token.secret),
        name: settings.name.clone(),
        peer_urls: own_urls.unwrap_or_default(),
        request: certificate_request,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let joined = runtime.block_on(ask(&token, &asked))?;
    let mut known = certificates_in(&joined.authorities).filter_map(|one| fingerprint_of(one).ok());
    ensure!(
        known.any(|hash| hash == token.authority),
        "the cluster gave another authority than the token names: nothing was kept"
    );
    let aside = plan.put_aside()?;
    // The identity comes last: where it is, all is.
    plan.write("join")?;
    keep(plan, &joined, &key)?;
    let started = service::start(plan)?;
    println!("cluster   {}, of which this machine is member {}, {}", joined.cluster, joined.member, settings.name);
    println!("settings  {}", plan.drop_in().display());
    if let Some(aside) = aside {
        println!("former    what it had of another cluster is in {}; remove it when all is well", aside.display());
    }
    println!("{}  {started}", if plan.start { "service " } else { "start it" });
    Ok(())
}

/// The token: from standard input where that is asked for, so that it is in no list of processes.
fn text(plan: &Plan) -> anyhow::Result<String> {
    match plan.token.as_deref() {
        Some("-") => std::io::read_to_string(std::io::stdin()).context("reading the token"),
        given => Ok(given.unwrap_or_default().to_owned()),
    }
}

/// Asks one member after the other, as long as the cluster is busy.
async fn ask(token: &Token, asked: &Join) -> anyhow::Result<Joined> {
    let tls = Arc::new(ClientTls { pinned: Some(token.authority), ..ClientTls::default() });
    let body = serde_json::to_vec(asked)?;
    let deadline = Instant::now() + LET_IN_WITHIN;
    let mut told = String::new();
    loop {
        let mut failures = Vec::new();
        let mut busy = false;
        for endpoint in &token.endpoints {
            ensure!(endpoint.starts_with("https://"), "the token names {endpoint}, which speaks no TLS");
            let address = Address::from_url(endpoint)?.secured(&tls);
            let body = Some(("application/json", body.clone()));
            let answer = match http::call(&address, Method::POST, JOIN_PATH, body, ANSWER_WITHIN).await {
                Ok(answer) => answer,
                Err(error) => {
                    failures.push(explained(&error.to_string()));
                    continue;
                }
            };
            if answer.status.is_success() {
                return serde_json::from_slice(&answer.body).with_context(|| format!("{endpoint}: its answer"));
            }
            let refused: Refused = serde_json::from_slice(&answer.body).unwrap_or_default();
            if !refused.later {
                bail!("{endpoint} refuses ({}): {}", answer.status, refused.error);
            }
            busy = true;
            failures.push(format!("{endpoint}: {}", refused.error));
        }
        let why = failures.join("; ");
        ensure!(!why.is_empty(), "the token names no member");
        ensure!(busy && Instant::now() < deadline, "{why}");
        if why != told {
            eprintln!("waiting: {why}");
            told = why;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// What a failure of TLS means here.
fn explained(error: &str) -> String {
    if error.contains("UnknownIssuer") || error.contains("BadSignature") {
        return format!(
            "{error}: the authority that the token names does not vouch for whoever answers there. Another cluster answers, or \
             somebody in between; nothing secret was sent"
        );
    }
    error.to_owned()
}

/// Keeps what the cluster gave.
fn keep(plan: &Plan, joined: &Joined, key: &str) -> anyhow::Result<()> {
    let peer =
        |peer: &crate::wire::joining::Peer| Peer { id: peer.id, name: peer.name.clone(), urls: peer.urls.clone() };
    let peers = joined.peers.iter().map(peer).collect();
    let dir = store_dir(&plan.settings);
    let place = Place { cluster: joined.cluster, member: joined.member, peers };
    raft::keep_place(&dir, &place).with_context(|| dir.display().to_string())?;
    plan.identity.write(&joined.authorities, &joined.authority_key, &joined.certificate, key)?;
    Ok(())
}
