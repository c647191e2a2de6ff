//! How an apply goes, told as it goes: the node says how far it is, this prints what that means.

use std::time::Duration;

use hyper::Method;

use super::{get, show};
use crate::api::fleet::model::{Applies, News, Planned, Rolling};
use crate::ctl::contact::Contact;
use crate::fleet::rollout::Progress;

/// Before a watch that ended is opened anew.
const REOPEN: Duration = Duration::from_millis(300);
/// How long a node may be away before this gives up; the cluster goes on meanwhile.
const AWAY_TRIES_MAX: usize = 100;

/// Prints each step until it is over; why its units were taken back, if they were.
///
/// # Errors
/// The node stays away, or has no record of how it ended.
pub async fn to_the_end(at: &Contact, begun: &Planned) -> anyhow::Result<Option<String>> {
    let mut seen = Progress::default();
    let mut away = 0;
    loop {
        match until_over(at, begun, &mut seen).await {
            Ok(true) => break,
            Ok(false) => away = 0,
            Err(error) => {
                away += 1;
                let revision = begun.revision;
                anyhow::ensure!(
                    away < AWAY_TRIES_MAX,
                    "{error}; revision {revision} goes on without this command: `node ctl history` tells its end"
                );
            }
        }
        tokio::time::sleep(REOPEN).await;
    }
    let found = get::<Applies>(at, &format!("applies/{}", begun.revision)).await?;
    Ok(found.applies.into_iter().next().and_then(|applied| applied.failure))
}

/// Whether it is over; `false`: the node has hung up.
async fn until_over(at: &Contact, begun: &Planned, seen: &mut Progress) -> anyhow::Result<bool> {
    let mut stream = at.open_stream(Method::GET, "/fleet/v1/watch?rollout=true").await?;
    anyhow::ensure!(stream.status.is_success(), "{}: {}", at, stream.status);
    while let Some(lines) = stream.lines().await? {
        for line in lines {
            let Some(rolling) = serde_json::from_slice::<News>(&line).ok().and_then(|news| news.rollout) else {
                continue;
            };
            if rolling.revision != begun.revision {
                return Ok(true);
            }
            tell(begun, &rolling, seen);
        }
    }
    Ok(false)
}

fn tell(begun: &Planned, rolling: &Rolling, seen: &mut Progress) {
    let progress = &rolling.progress;
    if progress == seen {
        return;
    }
    if let (Some(reason), None) = (&progress.failure, &seen.failure) {
        println!("  FAILED  {reason}\n  going back");
    } else if progress.released > seen.released {
        for change in begun.changes.get(seen.released..progress.released).into_iter().flatten() {
            println!("  {:>3}/{}  {}", progress.released, begun.changes.len(), show::line(change));
        }
    }
    *seen = progress.clone();
}
