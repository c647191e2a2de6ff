//! Questions about members' programs and data, all of them put to one node.

use std::time::Duration;

use anyhow::{Context as _, bail};
use hyper::Method;
use serde_json::{Value, json};

use crate::base::limits::PROGRAM_ANSWER_MS_MAX;
use crate::ctl::contact::Contact;
use crate::ctl::node_ctl;
use crate::wire::program::{NodeFacts, PROGRAM_PATH, Refused, Reply, Version};

/// Longer than a node waits for another one that runs the program that it was sent.
const WAIT: Duration = Duration::from_millis(3 * PROGRAM_ANSWER_MS_MAX);

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// As etcd prints it.
    pub id: String,
    pub name: String,
    pub votes: bool,
}

/// A cluster by one of its nodes.
pub struct Cluster {
    pub door: Contact,
}

impl Cluster {
    pub fn at(door: Contact) -> Self {
        Self { door }
    }

    /// All members, as the node that is asked knows them.
    pub async fn members(&self) -> anyhow::Result<Vec<Member>> {
        let asked = json!({"linearizable": false});
        let listed = self.door.tell("/v3/cluster/member/list", &asked, node_ctl::ANSWER_WITHIN).await?;
        let member = |member: &Value| Member {
            id: node_ctl::hex(&member["ID"]),
            name: member["name"].as_str().unwrap_or_default().to_owned(),
            votes: !member["isLearner"].as_bool().unwrap_or(false),
        };
        Ok(listed["members"].as_array().into_iter().flatten().map(member).collect())
    }

    /// How a member is.
    pub async fn facts(&self, member: &str) -> anyhow::Result<NodeFacts> {
        self.facts_at(&format!("{PROGRAM_PATH}?member={member}")).await
    }

    /// How the node that is asked is.
    pub async fn own_facts(&self) -> anyhow::Result<NodeFacts> {
        self.facts_at(PROGRAM_PATH).await
    }

    async fn facts_at(&self, path: &str) -> anyhow::Result<NodeFacts> {
        match self.call(Method::GET, path, Vec::new()).await? {
            Reply::Facts(facts) => Ok(*facts),
            _ => bail!("the answer is to another question"),
        }
    }

    /// Sends a member a piece of a program.
    pub async fn stage(&self, member: &str, sha256: &str, offset: usize, piece: &[u8]) -> anyhow::Result<()> {
        let path = format!("{PROGRAM_PATH}/{sha256}?member={member}&offset={offset}");
        self.call(Method::PUT, &path, piece.to_vec()).await.map(drop)
    }

    /// Whether a member could run what it was sent.
    pub async fn check(&self, member: &str, sha256: &str) -> anyhow::Result<Version> {
        let path = format!("{PROGRAM_PATH}/{sha256}?member={member}&check=true");
        match self.call(Method::POST, &path, Vec::new()).await? {
            Reply::Checked(version) => Ok(version),
            _ => bail!("the answer is to another question"),
        }
    }

    /// Has a member restart with it, which has so long to serve.
    pub async fn install(&self, member: &str, sha256: &str, trial: Duration) -> anyhow::Result<()> {
        let path = format!("{PROGRAM_PATH}/{sha256}?member={member}&trial_ms={}", trial.as_millis());
        self.call(Method::POST, &path, Vec::new()).await.map(drop)
    }

    async fn call(&self, method: Method, path: &str, body: Vec<u8>) -> anyhow::Result<Reply> {
        let body = Some(("application/octet-stream", body));
        let answer = self.door.call(method, path, body, WAIT).await.map_err(|error| anyhow::anyhow!("{error}"))?;
        if answer.status.is_success() {
            return serde_json::from_slice(&answer.body).with_context(|| format!("{}: its answer", self.door));
        }
        match serde_json::from_slice::<Refused>(&answer.body) {
            Ok(refused) if !refused.error.is_empty() => bail!("{}", refused.error),
            _ => bail!("{}: {} {}", self.door, answer.status, String::from_utf8_lossy(&answer.body).trim()),
        }
    }
}
