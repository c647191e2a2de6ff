//! `node init`: the first machine of a new cluster.

use anyhow::Context as _;

use super::Plan;
use super::service;
use crate::app::host::SystemClock;
use crate::app::listeners::certificate_hosts;
use crate::base::Clock as _;
use crate::jobs::first_token;
use crate::trust::{Pass, Token};

/// Makes authority, identity, settings and token, and starts the service.
pub fn run(plan: &Plan) -> anyhow::Result<()> {
    plan.check_free()?;
    let settings = &plan.settings;
    let now = SystemClock.now();
    // It gets its name when all is there: killed before that, this can be done again.
    let draft = plan.identity.draft()?;
    let authority = draft.found(&settings.cluster.to_string(), &certificate_hosts(settings), now)?;
    let ttl_ms = i64::try_from(plan.token_ttl.as_millis()).unwrap_or(i64::MAX);
    let chance = [(); 3].map(|()| rand::random());
    let token = Token::drawn(settings.client_advertise.clone(), authority.fingerprint()?, now.plus_ms(ttl_ms), chance);
    let file = first_token::file(&draft);
    let pass = serde_json::to_vec(&Pass::of(&token, now, plan.token_uses))?;
    std::fs::write(&file, pass).with_context(|| file.display().to_string())?;
    plan.write("init")?;
    plan.identity.take(&draft)?;
    let started = service::start(plan)?;
    println!("cluster   {}, of which this machine is the first member, {}", settings.cluster, settings.name);
    println!("reached   {} by clients, {} by members", settings.client_advertise.join(" "), peer_urls(plan));
    println!("settings  {}", plan.drop_in().display());
    println!("{}  {started}", if plan.start { "service " } else { "start it" });
    println!(
        "\nOn each other machine, within {} and on {} of them at most:\n\n  node join {token}\n",
        jiff::SignedDuration::try_from(plan.token_ttl).map(|ttl| format!("{ttl:#}")).unwrap_or_default(),
        plan.token_uses
    );
    Ok(())
}

fn peer_urls(plan: &Plan) -> String {
    plan.settings.peers.iter().flat_map(|peer| &peer.urls).map(String::as_str).collect::<Vec<_>>().join(" ")
}
