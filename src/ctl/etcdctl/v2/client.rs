//! Requests of API 2: the endpoints in turn, the list of members first, and failures in the words of the original's client.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};

use super::super::password;
use super::line::Line;
use super::request::Asked;
use super::{Failed, exit};
use crate::ctl::http::{self, Answer, HttpError};
use crate::ctl::{credentials, srv, tls};
use crate::net::tls::ClientTls;
use crate::net::{Address, AddressError, ConnectError};
use crate::wire::v2::{Failure, Members};

const DEFAULT_ENDPOINTS: &str = "http://127.0.0.1:2379,http://127.0.0.1:4001";
/// The original waits two seconds, and does not hear what our nodes say after four: that there is no quorum, and why.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);
const ALL_WITHIN: Duration = Duration::from_secs(5);

/// Why no endpoint answered.
#[derive(Debug)]
pub enum Trouble {
    /// What each said.
    All(Vec<Cause>),
    One(Cause),
    OutOfTime,
}

#[derive(Debug)]
pub struct Cause {
    text: String,
    /// Nobody was reached.
    unreached: bool,
}

impl Trouble {
    /// The sentence that the original's client makes of it.
    pub fn text(&self) -> String {
        match self {
            Self::All(causes) => {
                let mut text = "client: etcd cluster is unavailable or misconfigured".to_owned();
                for (at, cause) in causes.iter().enumerate() {
                    text.push_str(&format!("; error #{at}: {}\n", cause.text));
                }
                text
            }
            Self::One(cause) => cause.text.clone(),
            Self::OutOfTime => "context deadline exceeded".to_owned(),
        }
    }

    fn is_connection(&self) -> bool {
        match self {
            Self::All(causes) => causes.iter().all(|cause| cause.unreached),
            Self::One(cause) => cause.unreached,
            Self::OutOfTime => true,
        }
    }

    /// As a command that fails for it ends.
    pub fn failed(self, code: u8) -> Failed {
        let mut text = format!("Error:  {}", self.text());
        if let Self::All(causes) = &self {
            text.push('\n');
            for (at, cause) in causes.iter().enumerate() {
                text.push_str(&format!("error #{at}: {}\n", cause.text));
            }
        }
        Failed { code, text }
    }
}

pub struct Client {
    /// As they are asked, the next one first.
    endpoints: Vec<String>,
    next: Cell<usize>,
    authorization: Option<String>,
    request_within: Duration,
    all_within: Duration,
    deadline: Instant,
    debug: bool,
    tls: Arc<ClientTls>,
}

impl Client {
    /// A client that has not asked who the members are.
    ///
    /// # Errors
    /// A password that cannot be read, and what is not served.
    pub fn new(line: &Line) -> Result<Self, Failed> {
        let domain = variable_or(line, "discovery-srv", "ETCDCTL_DISCOVERY_SRV");
        let endpoints = match domain.is_empty() {
            true => endpoints(line),
            false => srv::endpoints(&domain, "", line.truth("insecure-discovery"))
                .map_err(|error| Failed::bare(error.to_string()))?,
        };
        let all_within = line.span("total-timeout", line.span("command-timeout", ALL_WITHIN));
        Ok(Self {
            endpoints,
            next: Cell::new(0),
            authorization: authorization(line)?,
            request_within: line.span("timeout", REQUEST_WITHIN),
            all_within,
            deadline: Instant::now() + all_within,
            debug: line.truth("debug"),
            tls: Arc::new(secured(line)?),
        })
    }

    /// One that goes on with the members' own addresses, unless it is told not to.
    ///
    /// # Errors
    /// No endpoint that can be reached, or no addresses.
    pub async fn synced(line: &Line) -> Result<Self, Failed> {
        let mut client = Self::new(line)?;
        if !line.truth("no-sync") {
            client.sync().await?;
            client.deadline = Instant::now() + client.all_within;
        }
        client.tell("Cluster-Endpoints: ", ", ", "");
        Ok(client)
    }

    async fn sync(&mut self) -> Result<(), Failed> {
        self.tell("start to sync cluster using endpoints(", ",", ")");
        match self.members().await {
            Ok(Some(members)) => {
                let urls: Vec<String> = members.members.into_iter().flat_map(|member| member.client_urls).collect();
                if urls.is_empty() {
                    let given = self.endpoints.join(",");
                    return Err(Failed {
                        code: exit::SERVER,
                        text: format!(
                            "etcd cluster has no published client endpoints.\nTry '--no-sync' if you want to access \
                             non-published client endpoints({given}).\nError:  client: no endpoints available"
                        ),
                    });
                }
                // Who answered goes on being asked: what is written there is read there at once. Members that cannot be reached at the
                // addresses that they tell are not the end of it.
                let given = std::mem::replace(&mut self.endpoints, urls);
                let asked = given.get(self.next.get()).cloned().unwrap_or_default();
                let more: Vec<String> = given.into_iter().filter(|url| !self.endpoints.contains(url)).collect();
                self.endpoints.extend(more);
                self.next.set(self.endpoints.iter().position(|url| *url == asked).unwrap_or(0));
            }
            Err(trouble) if trouble.is_connection() => return Err(trouble.failed(exit::CONNECTION)),
            // Whoever does not say may answer other questions.
            Ok(None) | Err(_) => {}
        }
        self.tell("got endpoints(", ",", ") after sync");
        Ok(())
    }

    pub fn tell(&self, before: &str, between: &str, after: &str) {
        if self.debug {
            eprintln!("{before}{}{after}", self.endpoints.join(between));
        }
    }

    /// The list of members; `None`: what was answered is none.
    pub async fn members(&self) -> Result<Option<Members>, Trouble> {
        let answer = self.ask(&Asked::get("/v2/members")).await?;
        Ok((answer.status == StatusCode::OK).then(|| serde_json::from_slice(&answer.body).ok()).flatten())
    }

    /// An answer of the first endpoint that has one.
    pub async fn ask(&self, asked: &Asked) -> Result<Answer, Trouble> {
        self.each(asked, async |endpoint, address| {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(None);
            }
            let body = asked.body.as_ref().map(|(kind, content)| (*kind, content.clone().into_bytes()));
            let who = self.authorization.as_deref();
            let wait = left.min(self.request_within);
            match http::call_as(who, address, asked.method.clone(), &asked.path, body, wait).await {
                Ok(answer) => Ok(answer),
                Err(HttpError::TimedOut { .. }) if left <= self.request_within => Err(None),
                Err(error) => Err(Some(cause(endpoint, &error))),
            }
        })
        .await
    }

    /// The same for what may take for ever.
    pub async fn wait(&self, path: String) -> Result<Answer, Trouble> {
        let asked = Asked::get(path);
        self.each(&asked, async |endpoint, address| {
            let whole = async {
                let who = self.authorization.as_deref();
                let mut streamed = http::open_as(who, address, Method::GET, &asked.path, None).await?;
                let mut body = Vec::new();
                while let Some(piece) = streamed.next().await? {
                    body.extend_from_slice(&piece);
                }
                Ok(Answer { status: streamed.status, headers: streamed.headers, body: body.into() })
            };
            whole.await.map_err(|error: HttpError| Some(cause(endpoint, &error)))
        })
        .await
    }

    /// A URL, with the files of TLS that were given.
    pub fn address(&self, url: &str) -> Result<Address, AddressError> {
        tls::address(&self.tls, url)
    }

    /// Asks the endpoints in turn, beginning with the one that answered last. `None` of an error: the time is over.
    async fn each(
        &self,
        asked: &Asked,
        ask: impl AsyncFn(&str, &Address) -> Result<Answer, Option<Cause>>,
    ) -> Result<Answer, Trouble> {
        let mut causes = Vec::new();
        for step in 0..self.endpoints.len() {
            let at = (self.next.get() + step) % self.endpoints.len();
            let endpoint = &self.endpoints[at];
            if self.debug {
                let body = asked.body.as_ref().map(|(_, body)| format!(" -d {body:?}")).unwrap_or_default();
                eprintln!("cURL Command: curl -X {} {endpoint}{}{body}", asked.method, asked.path);
            }
            let cause = match self.address(endpoint) {
                Err(error) => Cause { text: error.to_string(), unreached: false },
                Ok(address) => match ask(endpoint, &address).await {
                    Ok(answer) => match server_error(endpoint, &answer) {
                        None => {
                            self.next.set(at);
                            return Ok(answer);
                        }
                        Some(cause) => cause,
                    },
                    Err(Some(cause)) => cause,
                    Err(None) => return Err(Trouble::OutOfTime),
                },
            };
            if asked.once {
                return Err(Trouble::One(cause));
            }
            causes.push(cause);
        }
        Err(Trouble::All(causes))
    }
}

/// What the original makes of a server's failure, and the cause that our nodes give.
fn server_error(endpoint: &str, answer: &Answer) -> Option<Cause> {
    let mut text = match answer.status {
        StatusCode::INTERNAL_SERVER_ERROR | StatusCode::SERVICE_UNAVAILABLE => {
            format!("client: etcd member {endpoint} has no leader")
        }
        status if status.is_server_error() => {
            let reason = status.canonical_reason().unwrap_or_default();
            format!("client: etcd member {endpoint} returns server error [{reason}]")
        }
        _ => return None,
    };
    if let Some(failure) = serde_json::from_slice::<Failure>(&answer.body).ok().filter(|told| !told.cause.is_empty()) {
        text.push_str(&format!(": {}", failure.cause));
    }
    Some(Cause { text, unreached: false })
}

fn cause(endpoint: &str, error: &HttpError) -> Cause {
    let text = match error {
        HttpError::TimedOut { .. } => format!("client: endpoint {endpoint} exceeded header timeout"),
        other => in_gos_words(other),
    };
    Cause { text, unreached: matches!(error, HttpError::Connect(_)) }
}

/// A failed connection as Go tells it; scripts look for these words.
pub fn in_gos_words(error: &HttpError) -> String {
    match error {
        HttpError::Connect(ConnectError::Refused { address, source })
            if source.kind() == std::io::ErrorKind::ConnectionRefused =>
        {
            format!("dial tcp {address}: connect: connection refused")
        }
        other => other.to_string(),
    }
}

fn variable_or(line: &Line, flag: &str, variable: &str) -> String {
    match line.text(flag) {
        "" => std::env::var(variable).unwrap_or_default(),
        given => given.to_owned(),
    }
}

fn secured(line: &Line) -> Result<ClientTls, Failed> {
    let file = |flag: &str, variable: &str| {
        Some(variable_or(line, flag, variable)).filter(|name| !name.is_empty()).map(PathBuf::from)
    };
    let trusted_ca = file("ca-file", "ETCDCTL_CA_FILE");
    let (certificate, key) = (file("cert-file", "ETCDCTL_CERT_FILE"), file("key-file", "ETCDCTL_KEY_FILE"));
    let told = tls::told(trusted_ca, certificate, key, false).map_err(Failed::bare)?;
    Ok(if told == ClientTls::default() { credentials::tls() } else { told })
}

fn endpoints(line: &Line) -> Vec<String> {
    let places = [("endpoints", "ETCDCTL_ENDPOINTS"), ("endpoint", "ETCDCTL_ENDPOINT"), ("peers", "ETCDCTL_PEERS")];
    let given = places.iter().map(|(flag, variable)| variable_or(line, flag, variable)).find(|text| !text.is_empty());
    let given = given.or_else(credentials::endpoints).unwrap_or_else(|| DEFAULT_ENDPOINTS.to_owned());
    let with_scheme = |item: &str| match item.contains("://") {
        true => item.to_owned(),
        false => format!("http://{item}"),
    };
    given.split(',').map(str::trim).filter(|item| !item.is_empty()).map(with_scheme).collect()
}

/// Who asks, as HTTP's basic authentication has it; a password that is not given is asked for.
fn authorization(line: &Line) -> Result<Option<String>, Failed> {
    let of_v2 = variable_or(line, "username", "ETCDCTL_USERNAME");
    let given = if of_v2.is_empty() { variable_or(line, "user", "ETCDCTL_USER") } else { of_v2 };
    let password = variable_or(line, "password", "ETCDCTL_PASSWORD");
    let pair = match given.as_str() {
        "" => return Ok(None),
        given if !password.is_empty() => format!("{given}:{password}"),
        given if given.contains(':') => given.to_owned(),
        given => format!("{given}:{}", password::ask("Password: ").map_err(|failed| Failed::bare(failed.message))?),
    };
    Ok(Some(http::basic(&pair)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn failures_have_the_originals_words() {
        let cause = |text: &str| Cause { text: text.to_owned(), unreached: true };
        let trouble = Trouble::All(vec![cause("one"), cause("two")]);
        assert!(trouble.is_connection());
        assert_eq!(
            trouble.failed(2).text,
            "Error:  client: etcd cluster is unavailable or misconfigured; error #0: one\n; error #1: two\n\n\
             error #0: one\nerror #1: two\n"
        );
    }
}
