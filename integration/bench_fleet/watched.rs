//! Which units are active where, as a node tells it: nothing is asked again and again, which would take time from what is measured.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use corenode::api::fleet::model::News;
use corenode::ctl::http::open;
use corenode::net::Address;
use hyper::Method;
use tokio::sync::watch;

/// How long anything may take before the measurement is given up.
const BOUND: Duration = Duration::from_secs(120);

/// Units that are active, each with its machine's id.
pub type Active = BTreeSet<(String, String)>;

/// What a node tells, up to now.
pub struct Watched(watch::Receiver<Active>);

impl Watched {
    /// Begins to listen to the node at `address`; what is there already is known when this returns.
    pub async fn open(address: &Address) -> anyhow::Result<Self> {
        let mut news = open(address, Method::GET, "/fleet/v1/watch", None).await?;
        ensure!(news.status.is_success(), "{address} lets nobody watch: {}", news.status);
        let (sender, receiver) = watch::channel(Active::new());
        let (synced, known) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let (mut text, mut synced) = (Vec::new(), Some(synced));
            while let Ok(Some(piece)) = news.next().await {
                text.extend_from_slice(&piece);
                let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                let lines: Vec<u8> = text.drain(..whole).collect();
                for news in lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()) {
                    let news: News = news;
                    if news.synced
                        && let Some(synced) = synced.take()
                    {
                        // Nobody waits any more where it has taken too long.
                        let _ = synced.send(());
                    }
                    sender.send_if_modified(|active| take_in(active, news));
                }
            }
        });
        tokio::time::timeout(BOUND, known).await.with_context(|| format!("{address} does not say what is there"))??;
        Ok(Self(receiver))
    }

    /// Waits until `condition` holds.
    pub async fn until(&mut self, what: &str, condition: impl Fn(&Active) -> bool) -> anyhow::Result<()> {
        let seen =
            tokio::time::timeout(BOUND, self.0.wait_for(|active| condition(active))).await.map(|seen| seen.is_ok());
        match seen {
            Ok(true) => Ok(()),
            Ok(false) => bail!("the node that tells of units is gone; {what} was waited for"),
            Err(_) => bail!("waited {BOUND:?} for {what}; active are {:?}", self.0.borrow()),
        }
    }
}

/// Says whether anything has changed by it.
fn take_in(active: &mut Active, news: News) -> bool {
    if let Some(state) = news.state {
        let (is, unit) = (state.active == "active", (state.name, state.machine_id));
        return if is { active.insert(unit) } else { active.remove(&unit) };
    }
    match news.gone {
        Some(gone) if gone.state => active.remove(&(gone.unit, gone.machine_id)),
        _ => false,
    }
}
