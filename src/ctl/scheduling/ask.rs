//! What the commands ask a node: JSON there and back, machines by what people call them, and a sign that something changed.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::api::fleet::model::{ErrorBody, MachineJson, Page};
use crate::base::MachineId;
use crate::ctl::contact::Contact;
use crate::ctl::http::Streamed;
use crate::ctl::node_ctl::ANSWER_WITHIN;

/// Changes that come closer together than this are one.
const BURST_QUIET: Duration = Duration::from_millis(100);
/// Without news it is looked again after this long: a watch may have ended.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// A node, through which all else is reached.
pub struct Cluster {
    at: Contact,
}

/// Machines as people call them.
pub struct Names(BTreeMap<String, String>);

/// News of units and machines, whatever they are.
pub struct News(Option<Streamed>);

impl Cluster {
    pub fn at(at: Contact) -> Self {
        Self { at }
    }

    /// Reads something.
    ///
    /// # Errors
    /// What the node says, or that it does not answer.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let body = self.call(Method::GET, path, None).await?;
        serde_json::from_slice(&body)
            .with_context(|| format!("{}: {path}: the answer is not what was expected", self.at))
    }

    /// Asks for something to be done and reads the answer.
    ///
    /// # Errors
    /// As [`Cluster::get`].
    pub async fn post<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let body = self.call(Method::POST, path, None).await?;
        serde_json::from_slice(&body)
            .with_context(|| format!("{}: {path}: the answer is not what was expected", self.at))
    }

    /// Sends something that is only acknowledged.
    ///
    /// # Errors
    /// As [`Cluster::get`].
    pub async fn send(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> anyhow::Result<()> {
        let body = body.map(serde_json::to_vec).transpose()?;
        self.call(method, path, body).await.map(drop)
    }

    async fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> anyhow::Result<Vec<u8>> {
        let full = format!("/fleet/v1/{path}");
        let body = body.map(|body| ("application/json", body));
        let answer = self.at.call(method, &full, body, ANSWER_WITHIN).await;
        // The error's text has its causes in it already.
        let answer = answer.map_err(|error| anyhow::anyhow!("{error}"))?;
        if !answer.status.is_success() {
            let told = serde_json::from_slice::<ErrorBody>(&answer.body).map(|body| body.error.message);
            bail!("{}", told.ok().filter(|told| !told.is_empty()).unwrap_or_else(|| answer.status.to_string()));
        }
        Ok(answer.body.to_vec())
    }

    /// The names of the machines that are present.
    ///
    /// # Errors
    /// As [`Cluster::get`].
    pub async fn names(&self) -> anyhow::Result<Names> {
        let mut names = BTreeMap::new();
        let mut token = String::new();
        loop {
            let page: Page = self.get(&format!("machines{token}")).await?;
            let machines = page.machines.into_iter();
            names.extend(machines.map(|MachineJson { id, primary_ip, .. }| (id, primary_ip)));
            if page.next_page_token.is_empty() {
                return Ok(Names(names));
            }
            token = format!("?nextPageToken={}", escape(&page.next_page_token));
        }
    }

    /// Begins to listen. Where that cannot be, time passes instead.
    pub async fn news(&self) -> News {
        News(self.at.open_stream(Method::GET, "/fleet/v1/watch").await.ok())
    }
}

impl Names {
    /// The id of a machine by its id, the beginning of it, or its address.
    ///
    /// # Errors
    /// Where none or several are meant.
    pub fn id(&self, word: &str) -> anyhow::Result<String> {
        let bare = word.trim_end_matches('.');
        if self.0.contains_key(bare) {
            return Ok(bare.to_owned());
        }
        let meant = self.0.iter().filter(|(id, ip)| id.starts_with(bare) || *ip == word);
        let meant: Vec<&String> = meant.map(|(id, _)| id).collect();
        ensure!(
            !bare.is_empty() && !meant.is_empty(),
            "no machine is called {word}; `fleetctl list-machines` lists them"
        );
        ensure!(meant.len() == 1, "{word} may be any of {} machines; write more of its id", meant.len());
        Ok(meant[0].clone())
    }

    /// How a machine is called in what is printed.
    pub fn legend(&self, id: &str) -> String {
        let short = MachineId(id.to_owned()).short();
        match self.0.get(id).filter(|ip| !ip.is_empty()) {
            Some(ip) => format!("{short}/{ip}"),
            None if id.len() <= 8 => id.to_owned(),
            None => short,
        }
    }

    /// A legend that stands in a column.
    pub fn column(&self, id: &str) -> String {
        let width = self.0.keys().map(|id| self.legend(id).len()).max().unwrap_or(0);
        format!("{:width$}", self.legend(id))
    }
}

impl News {
    /// Returns when something has changed, or a while has passed, or it is `deadline`.
    pub async fn wait(&mut self, deadline: Instant) {
        let mut until = deadline.min(Instant::now() + LOOK_AGAIN);
        loop {
            let Some(stream) = &mut self.0 else { return tokio::time::sleep_until(until).await };
            match tokio::time::timeout_at(until, stream.next()).await {
                Ok(Ok(Some(_))) => until = until.min(Instant::now() + BURST_QUIET),
                Ok(_) => self.0 = None,
                Err(_) => return,
            }
        }
    }
}

/// A word as a part of a path or query.
pub fn escape(word: &str) -> String {
    utf8_percent_encode(word, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn machines_by_what_people_call_them() {
        let names = [("0123456789abcdef", "10.0.0.1"), ("01ff456789abcdef", "10.0.0.2"), ("m1", "")];
        let names = Names(names.map(|(id, ip)| (id.to_owned(), ip.to_owned())).into());
        for (word, expected) in [
            ("0123", Some("0123456789abcdef")),
            ("01234567...", Some("0123456789abcdef")),
            ("10.0.0.2", Some("01ff456789abcdef")),
            ("m1", Some("m1")),
            ("01", None),
            ("", None),
            ("10.0.0.3", None),
        ] {
            assert_eq!(names.id(word).ok().as_deref(), expected, "{word}");
        }
        assert_eq!(names.legend("0123456789abcdef"), "01234567.../10.0.0.1");
        assert_eq!(names.legend("new-1"), "new-1");
    }
}
