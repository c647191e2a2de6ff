//! Founding a cluster through a discovery URL: this member registers there, waits until all first members have, and takes their list.
//!
//! Source: the behaviour of etcd 2.3 and 3.4 as clients of the service. As in etcd, the URL becomes the cluster's token, and with it part of the
//! members' ids. Unlike etcd's, a member that finds its own registration goes on with it: a start that was cut off can be repeated.

use std::sync::Mutex;
use std::time::Duration;

use hyper::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::{sleep, timeout};

use super::founding::{self, FoundersError};
use super::run::tell_starting;
use super::settings::{DiscoverySettings, PeerSetting, Settings};
use crate::base::limits::{
    DISCOVERY_REQUEST_MS_MAX, DISCOVERY_RETRY_MS_MAX, DISCOVERY_RETRY_MS_MIN, DISCOVERY_WATCH_MS_MAX,
};
use crate::net::Address;
use crate::net::http::{self, Answer as HttpAnswer};
use crate::wire::v2::{Answer, Failure, Node};

const FORM: &str = "application/x-www-form-urlencoded";

/// Why no cluster came about.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    #[error(
        "discovery {url}: size key not found: nobody has made this token there, or its service keeps none any more; make one \
         with `curl -X PUT 'http://HOST:2379/new?size=3'` at any node that runs"
    )]
    SizeMissing { url: String },
    #[error("discovery {url}: size key is bad: `{size}` is no number of members")]
    BadSize { url: String, size: String },
    #[error("discovery {url}: bad discovery endpoint: {why}")]
    BadEndpoint { url: String, why: String },
    #[error(
        "discovery {url}: cluster is full: its {size} members are {members}. To add this one, `etcdctl member add {name} \
         --peer-urls={urls}` at one of them, and start with initial_cluster and initial_cluster_state = \"existing\" in place of \
         discovery; for another cluster take a new token, since each founds one"
    )]
    Full { url: String, size: usize, members: String, name: String, urls: String },
    #[error(
        "discovery {url}: found duplicate id: {id} is registered as `{found}` and this member is `{own}`; take a new token, or the name and \
         URLs of then"
    )]
    Duplicate { url: String, id: String, found: String, own: String },
    #[error("discovery {url}: found duplicate name: {members}; each member needs a name of its own, and a new token")]
    DuplicateName { url: String, members: String },
    #[error("discovery {url}: `{value}` is no member: write name=http://host:port; take a new token")]
    BadMember { url: String, value: String },
    #[error("discovery {url}: the registration is refused: {why}")]
    Refused { url: String, why: String },
    #[error(
        "discovery {url}: no cluster within {waited:?}: {cause}. What is registered stays so: start again once that is mended; \
         discovery_wait is how long a start waits"
    )]
    TimedOut { url: String, waited: Duration, cause: String },
    #[error(transparent)]
    Founders(#[from] FoundersError),
}

/// Gives the settings the first members: those that an earlier start was told, else those that discovery finds. `is_member`: there is data.
///
/// # Errors
/// [`DiscoveryError`].
pub async fn settle(
    settings: &mut Settings,
    discovery: &DiscoverySettings,
    is_member: bool,
) -> Result<(), DiscoveryError> {
    let own = settings.peers.first().cloned().unwrap_or_default();
    let (by, token) = (format!("discovery {}", discovery.url), &discovery.url);
    founding::settle(settings, by, token, is_member, found(discovery, &own)).await
}

/// Registers `own` and waits for the others, for as long as the settings say: the first members, as `initial_cluster` has them.
async fn found(discovery: &DiscoverySettings, own: &PeerSetting) -> Result<String, DiscoveryError> {
    let registry = Registry::new(discovery, own)?;
    match timeout(discovery.wait, registry.join()).await {
        Ok(joined) => joined,
        Err(_) => Err(DiscoveryError::TimedOut {
            url: discovery.url.clone(),
            waited: discovery.wait,
            cause: registry.waits_for.lock().map_or_else(|_| String::new(), |cause| cause.clone()),
        }),
    }
}

/// The token's directory, as one member sees it.
struct Registry<'a> {
    url: &'a str,
    own: &'a PeerSetting,
    /// What this member registers.
    value: String,
    /// Where requests go: the service, or a proxy before it.
    address: Address,
    /// The directory's path, or its whole URL where a proxy is asked.
    target: String,
    waits_for: Mutex<String>,
}

/// Who has registered, in the order in which they did.
struct Look {
    size: usize,
    registered: Vec<Node>,
    /// The store's index then.
    index: u64,
}

impl<'a> Registry<'a> {
    fn new(discovery: &'a DiscoverySettings, own: &'a PeerSetting) -> Result<Self, DiscoveryError> {
        let (service, path) = super::settings::discovery_place(&discovery.url)
            .map_err(|why| DiscoveryError::BadEndpoint { url: discovery.url.clone(), why })?;
        let (address, target) = match &discovery.proxy {
            None => (service, path),
            Some(proxy) => (proxy.clone(), format!("http://{service}{path}")),
        };
        let value = own.urls.iter().map(|url| format!("{}={url}", own.name)).collect::<Vec<_>>().join(",");
        Ok(Self { url: &discovery.url, own, value, address, target, waits_for: Mutex::default() })
    }

    fn id(&self) -> String {
        self.own.id.to_string()
    }

    async fn join(&self) -> Result<String, DiscoveryError> {
        let mut asked = false;
        loop {
            let look = self.look().await?;
            let first = &look.registered[..look.registered.len().min(look.size)];
            let is_first = first.iter().any(|node| name_of(node) == self.id());
            if !is_first && first.len() == look.size {
                return Err(self.full(&look));
            }
            match look.registered.iter().find(|node| name_of(node) == self.id()) {
                Some(own) if own.value.as_deref() == Some(&self.value) => {}
                Some(own) => return Err(self.duplicate(own)),
                None if !asked => {
                    self.register().await?;
                    asked = true;
                    continue;
                }
                // Another node of the service answers, and is behind.
                None => {}
            }
            if first.len() == look.size {
                tracing::info!(discovery = self.url, members = look.size, "found all members");
                return self.initial_cluster(first);
            }
            let known: Vec<&str> = first.iter().filter_map(|node| node.value.as_deref()).collect();
            self.wait_for(format!("{} of {} members have registered ({})", first.len(), look.size, known.join(",")));
            self.change(look.index).await;
        }
    }

    async fn look(&self) -> Result<Look, DiscoveryError> {
        let answer = self.ask(Method::GET, "/_config/size?quorum=true", None).await?;
        if answer.status == StatusCode::NOT_FOUND && failure(&answer).is_some_and(|failure| failure.error_code == 100) {
            return Err(DiscoveryError::SizeMissing { url: self.url.to_owned() });
        }
        let size = self.node(&answer)?.value.unwrap_or_default();
        let size = match size.trim().parse() {
            Ok(size) if size > 0 => size,
            _ => return Err(DiscoveryError::BadSize { url: self.url.to_owned(), size }),
        };
        let answer = self.ask(Method::GET, "?quorum=true", None).await?;
        let mut registered = self.node(&answer)?.nodes;
        registered.retain(|node| !name_of(node).starts_with('_'));
        registered.sort_by_key(|node| node.created_index);
        let index = answer.headers.get("x-etcd-index").and_then(|index| index.to_str().ok()?.parse().ok());
        Ok(Look { size, registered, index: index.unwrap_or_default() })
    }

    /// That this member is registered already is no failure: the next look shows as what.
    async fn register(&self) -> Result<(), DiscoveryError> {
        let form = format!("value={}", utf8_percent_encode(&self.value, NON_ALPHANUMERIC));
        let answer = self.ask(Method::PUT, &format!("/{}?prevExist=false", self.id()), Some(form)).await?;
        match answer.status {
            StatusCode::CREATED | StatusCode::OK | StatusCode::PRECONDITION_FAILED => {
                tracing::info!(discovery = self.url, member = self.id(), "this member is registered");
                Ok(())
            }
            status => {
                let told = failure(&answer).map(|failure| format!("{} ({})", failure.message, failure.cause));
                Err(DiscoveryError::Refused {
                    url: self.url.to_owned(),
                    why: told.unwrap_or_else(|| status.to_string()),
                })
            }
        }
    }

    /// An answer of the service; where there is none it is asked again, until the caller's time is over.
    async fn ask(&self, method: Method, below: &str, form: Option<String>) -> Result<HttpAnswer, DiscoveryError> {
        let target = format!("{}{below}", self.target);
        let wait = Duration::from_millis(DISCOVERY_REQUEST_MS_MAX);
        let mut pause = DISCOVERY_RETRY_MS_MIN;
        loop {
            let body = form.as_ref().map(|form| (FORM, form.clone().into_bytes()));
            let why = match http::call(&self.address, method.clone(), &target, body, wait).await {
                Ok(answer) if !answer.status.is_server_error() => return Ok(answer),
                Ok(answer) => match failure(&answer) {
                    Some(failure) => format!("{}: {} ({})", self.address, failure.message, failure.cause),
                    None => format!("{}: {}", self.address, answer.status),
                },
                Err(error) => error.to_string(),
            };
            self.wait_for(format!("the discovery service does not answer: {why}"));
            sleep(Duration::from_millis(pause)).await;
            pause = (pause * 2).min(DISCOVERY_RETRY_MS_MAX);
        }
    }

    /// Returns when something was registered behind `index`, or after a while.
    async fn change(&self, index: u64) {
        let target = format!("{}?recursive=true&wait=true&waitIndex={}", self.target, index + 1);
        let wait = Duration::from_millis(DISCOVERY_WATCH_MS_MAX);
        let answer = http::call(&self.address, Method::GET, &target, None, wait).await;
        if !answer.is_ok_and(|answer| answer.status.is_success() && !answer.body.is_empty()) {
            // It broke off, or that much history is gone: looking again tells, but not in a circle.
            sleep(Duration::from_millis(DISCOVERY_RETRY_MS_MIN)).await;
        }
    }

    /// Says what goes on, here and to the supervisor.
    fn wait_for(&self, cause: String) {
        tell_starting(&format!("discovery: {cause}"));
        let Ok(mut waits_for) = self.waits_for.lock() else { return };
        if *waits_for != cause {
            tracing::info!(discovery = self.url, "{cause}");
            *waits_for = cause;
        }
    }

    fn node(&self, answer: &HttpAnswer) -> Result<Node, DiscoveryError> {
        let bad = |why: String| DiscoveryError::BadEndpoint { url: self.url.to_owned(), why };
        if !answer.status.is_success() {
            let told = failure(answer).map(|failure| format!("{} ({})", failure.message, failure.cause));
            return Err(bad(told.unwrap_or_else(|| format!("it answers {}, and not as etcd's v2 API", answer.status))));
        }
        let told: Answer = serde_json::from_slice(&answer.body)
            .map_err(|error| bad(format!("its answer is not etcd's JSON: {error}")))?;
        Ok(told.node.unwrap_or_default())
    }

    fn initial_cluster(&self, first: &[Node]) -> Result<String, DiscoveryError> {
        let values: Vec<&str> = first.iter().map(|node| node.value.as_deref().unwrap_or_default()).collect();
        let mut names = Vec::new();
        for value in &values {
            let bad = || DiscoveryError::BadMember { url: self.url.to_owned(), value: (*value).to_owned() };
            names.push(value.split_once('=').ok_or_else(bad)?.0);
        }
        names.sort_unstable();
        names.dedup();
        match names.len() == values.len() {
            true => Ok(values.join(",")),
            false => Err(DiscoveryError::DuplicateName { url: self.url.to_owned(), members: values.join(",") }),
        }
    }

    fn full(&self, look: &Look) -> DiscoveryError {
        let members: Vec<&str> =
            look.registered.iter().take(look.size).filter_map(|node| node.value.as_deref()).collect();
        DiscoveryError::Full {
            url: self.url.to_owned(),
            size: look.size,
            members: members.join(","),
            name: self.own.name.clone(),
            urls: self.own.urls.join(","),
        }
    }

    fn duplicate(&self, found: &Node) -> DiscoveryError {
        DiscoveryError::Duplicate {
            url: self.url.to_owned(),
            id: self.id(),
            found: found.value.clone().unwrap_or_default(),
            own: self.value.clone(),
        }
    }
}

/// The last part of a node's key.
fn name_of(node: &Node) -> &str {
    node.key.rsplit('/').next().unwrap_or_default()
}

fn failure(answer: &HttpAnswer) -> Option<Failure> {
    serde_json::from_slice(&answer.body).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::base::MemberId;

    fn node(key: &str, value: &str, created_index: u64) -> Node {
        Node {
            key: format!("/_etcd/registry/t/{key}"),
            value: Some(value.to_owned()),
            created_index,
            ..Node::default()
        }
    }

    fn answer(status: u16, body: &str) -> HttpAnswer {
        let status = StatusCode::from_u16(status).unwrap();
        HttpAnswer { status, headers: hyper::HeaderMap::new(), body: body.to_owned().into() }
    }

    fn with_registry<T>(work: impl FnOnce(&Registry<'_>) -> T) -> T {
        let url = "http://h:2379/v2/keys/_etcd/registry/t".to_owned();
        let discovery = DiscoverySettings { url, proxy: None, wait: Duration::from_secs(1) };
        let urls = vec!["http://a:1".to_owned(), "http://a:2".to_owned()];
        let own = PeerSetting { id: MemberId(0xab), name: "a".to_owned(), urls };
        work(&Registry::new(&discovery, &own).unwrap())
    }

    #[test]
    fn what_is_registered_becomes_the_initial_cluster() {
        with_registry(|registry| {
            assert_eq!(registry.value, "a=http://a:1,a=http://a:2");
            assert_eq!(registry.target, "/v2/keys/_etcd/registry/t");
            let own = registry.value.as_str();
            let good = registry.initial_cluster(&[node("b", "b=http://b:1", 5), node("ab", own, 7)]).unwrap();
            assert_eq!(good, "b=http://b:1,a=http://a:1,a=http://a:2");
            let twice = registry.initial_cluster(&[node("b", "a=http://b:1", 5), node("ab", own, 7)]);
            assert!(twice.unwrap_err().to_string().contains("found duplicate name: a=http://b:1,a=http://a:1"));
            let bad = registry.initial_cluster(&[node("b", "nonsense", 5)]).unwrap_err().to_string();
            assert!(bad.contains("`nonsense` is no member"), "{bad}");
            let other = registry.duplicate(&node("ab", "z=http://a:1", 5)).to_string();
            assert!(other.contains("ab is registered as `z=http://a:1`"), "{other}");
        });
    }

    #[test]
    fn a_proxy_is_asked_for_the_whole_url() {
        let url = "http://h/t".to_owned();
        let proxy = Address::Tcp { host: "p".to_owned(), port: 3128 };
        let discovery = DiscoverySettings { url, proxy: Some(proxy.clone()), wait: Duration::from_secs(1) };
        let own = PeerSetting::default();
        let registry = Registry::new(&discovery, &own).unwrap();
        assert_eq!((registry.address, registry.target), (proxy, "http://h:80/t".to_owned()));
    }

    #[test]
    fn what_is_no_registry_is_told() {
        with_registry(|registry| {
            let cases = [
                (200, "<html>", "its answer is not etcd's JSON"),
                (404, "404 page not found", "it answers 404 Not Found, and not as etcd's v2 API"),
                (401, r#"{"errorCode":110,"message":"M","cause":"C","index":0}"#, "bad discovery endpoint: M (C)"),
            ];
            for (status, body, expected) in cases {
                let why = registry.node(&answer(status, body)).unwrap_err().to_string();
                assert!(why.contains(expected), "{status} {body}: {why}");
            }
        });
    }
}
