//! Who does not belong here any more: members that were removed are told so by name, and a member that is told so stops.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use tokio::sync::watch;

use crate::base::{ClusterId, MemberId};

/// The members that were removed, and whether this one is among them.
#[derive(Debug, Default)]
pub struct Roll {
    removed: RwLock<BTreeMap<MemberId, String>>,
    /// Clusters that were given up for this one, when their quorum was gone for good.
    given_up: Vec<ClusterId>,
    expelled: watch::Sender<Option<String>>,
}

impl Roll {
    /// Of a cluster for which others were given up.
    pub fn of(given_up: Vec<ClusterId>) -> Self {
        Self { given_up, ..Self::default() }
    }

    /// What a member of another cluster is told if that one was given up for `now`.
    pub fn farewell_of_former(&self, cluster: ClusterId, now: ClusterId) -> Option<String> {
        self.given_up.contains(&cluster).then(|| {
            format!(
                "cluster {cluster} was given up when its quorum was gone: it was recovered as cluster {now} from a member that survived; \
                 `node ctl token create` there and `node join --anew TOKEN` here make this machine a member of it, and its units run on"
            )
        })
    }

    /// Notes who was removed, with their names. Returns those that were not known to be.
    pub fn set_removed(&self, removed: Vec<(MemberId, String)>) -> Vec<MemberId> {
        let mut known = self.removed.write().unwrap_or_else(PoisonError::into_inner);
        let new = removed.iter().map(|(id, _)| *id).filter(|id| !known.contains_key(id)).collect();
        known.extend(removed);
        new
    }

    /// What a member that was removed is told; `None`: it was not.
    pub fn farewell(&self, id: MemberId) -> Option<String> {
        let removed = self.removed.read().unwrap_or_else(PoisonError::into_inner);
        let name = removed.get(&id)?;
        let named = if name.is_empty() { String::new() } else { format!(" ({name})") };
        Some(format!("member {id}{named} has been permanently removed from the cluster"))
    }

    /// This member was removed: a peer says so, or its own state.
    pub fn expel(&self, reason: &str) {
        self.expelled.send_if_modified(|expelled| {
            let news = expelled.is_none();
            if news {
                *expelled = Some(reason.to_owned());
            }
            news
        });
    }

    /// Completes when this member was removed, with the reason.
    pub async fn expelled(&self) -> String {
        let mut expelled = self.expelled.subscribe();
        match expelled.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // The sender lives as long as `self`.
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn the_removed_are_told_by_name() {
        let roll = Roll::default();
        assert_eq!(roll.farewell(MemberId(10)), None);
        let removed = vec![(MemberId(10), "ten".to_owned()), (MemberId(11), String::new())];
        assert_eq!(roll.set_removed(removed.clone()), [MemberId(10), MemberId(11)]);
        assert!(roll.set_removed(removed).is_empty());
        assert_eq!(
            roll.farewell(MemberId(10)).unwrap(),
            "member a (ten) has been permanently removed from the cluster"
        );
        assert_eq!(roll.farewell(MemberId(11)).unwrap(), "member b has been permanently removed from the cluster");
        let former = Roll::of(vec![ClusterId(1)]);
        assert_eq!(former.farewell_of_former(ClusterId(2), ClusterId(3)), None);
        let told = former.farewell_of_former(ClusterId(1), ClusterId(3)).unwrap();
        assert!(told.contains("cluster 1 was given up") && told.contains("recovered as cluster 3"), "{told}");
        roll.expel("first");
        roll.expel("second");
        assert_eq!(roll.expelled().await, "first");
    }
}
