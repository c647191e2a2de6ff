//! The API as the commands see it: endpoints in turn, errors in the words of fleet's client library, pages put together.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use hyper::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;

use super::tunnel::Tunnel;
use crate::api::fleet::model::{ErrorBody, MachineJson, Page, Restarted, UnitJson, UnitStateJson};
use crate::ctl::args::Parsed;
use crate::ctl::http::{self, Answer, Streamed, Websocket};
use crate::ctl::{credentials, terminal, tls};
use crate::fleet::session;
use crate::net::Address;

/// Where a node's or fleet's API may be on this machine, in the order in which it is looked for.
const SOCKETS: [&str; 3] = ["/run/fleet.sock", "/var/run/fleet.sock", "/run/node/node.sock"];
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:2379";
/// How long one request may take: longer than a node takes to find that there is no quorum.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Requests that a command with many units has under way at once.
pub const IN_FLIGHT: usize = 16;
/// What a unit's name holds as it is in a path.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'@').remove(b':');

/// Why there is no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// As fleet's client library prints the API's refusals.
    #[error("googleapi: {}", refusal(*code, message))]
    Refused { code: u16, message: String },
    #[error("{0}")]
    Http(#[from] http::HttpError),
    #[error("{path}: the answer is not what fleet's API answers: {reason}")]
    Nonsense { path: String, reason: String },
}

fn refusal(code: u16, message: &str) -> String {
    if message.is_empty() {
        format!("got HTTP response code {code} with body: ")
    } else {
        format!("Error {code}: {message}")
    }
}

impl ApiError {
    /// Whether what was asked for does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { code: 404, .. })
    }

    /// In the words of the node, without those of fleet's client library.
    pub fn told(&self) -> String {
        match self {
            Self::Refused { message, .. } if !message.is_empty() => message.clone(),
            other => other.to_string(),
        }
    }

    /// Whether it is not done as things stand.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { code: 409, .. })
    }

    /// Whether the path itself is not known there: a fleetd of old.
    pub fn is_unknown_path(&self) -> bool {
        matches!(self, Self::Refused { code: 404, message } if message.is_empty())
    }
}

/// The endpoints, and which of them is in use.
pub struct Client {
    addresses: Vec<Address>,
    current: Cell<usize>,
    tunnel: Option<Tunnel>,
    /// The header of who calls.
    authorization: Option<String>,
}

impl Client {
    /// A client for the endpoints that are asked for, else for what is found on this machine.
    pub async fn new(parsed: &Parsed) -> Result<Self, String> {
        match parsed.value("driver") {
            // The store's port serves fleet's API too, so that what was said of etcd still leads there.
            None | Some("API" | "etcd") => {}
            Some(other) => return Err(format!("unrecognized driver {other:?}")),
        }
        let mut addresses = match parsed.value("endpoint").map(str::to_owned).or_else(credentials::logged_in) {
            Some(text) => {
                let tls = tls::of(parsed)?;
                let one = |item: &str| endpoint(item.trim()).map(|address| address.secured(&tls));
                text.split(',').map(one).collect::<Result<Vec<_>, _>>()?
            }
            None => vec![found_here(&|path| Path::new(path).exists())?],
        };
        let tunnel = match parsed.value("tunnel").filter(|host| !host.is_empty()) {
            Some(_) => Some(Tunnel::open(parsed, &addresses[0]).await?),
            None => None,
        };
        if let Some(tunnel) = &tunnel {
            addresses = vec![tunnel.address()];
        }
        let authorization = parsed.value("username").map(http::basic);
        Ok(Self { addresses, current: Cell::new(0), tunnel, authorization })
    }

    /// A client for these endpoints, with what says who calls.
    pub fn with(addresses: Vec<Address>, authorization: Option<String>) -> Self {
        Self { addresses, current: Cell::new(0), tunnel: None, authorization }
    }

    /// Ends what the client keeps open.
    pub async fn close(&self) {
        if let Some(tunnel) = &self.tunnel {
            tunnel.close().await;
        }
    }

    /// The machines that are present.
    pub async fn machines(&self) -> Result<Vec<MachineJson>, ApiError> {
        self.pages("machines", |page| page.machines).await
    }

    /// All units.
    pub async fn units(&self) -> Result<Vec<UnitJson>, ApiError> {
        self.pages("units", |page| page.units).await
    }

    /// What all machines say of their units.
    pub async fn states(&self) -> Result<Vec<UnitStateJson>, ApiError> {
        self.pages("state", |page| page.states).await
    }

    /// One unit; `None` where there is none of that name.
    pub async fn unit(&self, name: &str) -> Result<Option<UnitJson>, ApiError> {
        self.one(&format!("units/{}", escape(name))).await
    }

    /// What a machine says of a unit.
    pub async fn state(&self, name: &str) -> Result<Option<UnitStateJson>, ApiError> {
        self.one(&format!("state/{}", escape(name))).await
    }

    /// Creates a unit, replaces its text (with options) or sets its desired state.
    pub async fn put(&self, unit: &UnitJson) -> Result<(), ApiError> {
        let path = format!("units/{}", escape(&unit.name));
        // Plain structs with string keys: serde_json has no way to fail on them.
        let body = serde_json::to_vec(unit).unwrap_or_default();
        self.call(Method::PUT, &path, Some(body)).await.map(drop)
    }

    /// Sets a unit's desired state.
    pub async fn set_desired(&self, name: &str, desired: &str) -> Result<(), ApiError> {
        self.put(&UnitJson { name: name.to_owned(), desired_state: desired.to_owned(), ..UnitJson::default() }).await
    }

    /// Removes a unit.
    pub async fn destroy(&self, name: &str) -> Result<(), ApiError> {
        self.call(Method::DELETE, &format!("units/{}", escape(name)), None).await.map(drop)
    }

    /// Asks for a new start of a unit.
    pub async fn restart(&self, name: &str) -> Result<(), ApiError> {
        self.call(Method::POST, &format!("restart/{}", escape(name)), None).await.map(drop)
    }

    /// Asks one machine for a new start of a global unit; which start that is.
    pub async fn restart_on(&self, name: &str, machine: &str) -> Result<u64, ApiError> {
        let path = format!("restart/{}?machine={machine}", escape(name));
        let answer = self.call(Method::POST, &path, None).await?;
        let nonsense = |error: serde_json::Error| ApiError::Nonsense { path, reason: error.to_string() };
        serde_json::from_slice::<Restarted>(&answer.body).map(|restarted| restarted.launch).map_err(nonsense)
    }

    /// Reads something as JSON.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        let answer = self.call(Method::GET, path, None).await?;
        let nonsense =
            |error: serde_json::Error| ApiError::Nonsense { path: path.to_owned(), reason: error.to_string() };
        serde_json::from_slice(&answer.body).map_err(nonsense)
    }

    /// Opens an answer that goes on.
    pub async fn open(&self, path: &str) -> Result<Streamed, ApiError> {
        let full = format!("/fleet/v1/{path}");
        let streamed = self
            .first_that_answers(async |address| {
                let head = tokio::time::timeout(
                    ANSWER_WITHIN,
                    http::open_as(self.authorization.as_deref(), address, Method::GET, &full, None),
                )
                .await;
                let late = |_| http::HttpError::TimedOut { address: address.to_string(), waited: ANSWER_WITHIN };
                head.map_err(late)?.map(|streamed| (streamed.status, streamed))
            })
            .await?;
        if streamed.status.is_success() {
            return Ok(streamed);
        }
        let status = streamed.status;
        Err(refused(status, &streamed.rest().await?))
    }

    /// Runs a command in a unit or on a machine on this program's own standard streams; its exit code.
    pub async fn session(&self, path: &str, command: &session::Command) -> Result<u8, ApiError> {
        let full = format!("/fleet/v1/{path}");
        let opened = self
            .first_that_answers(async |address| {
                let opened = http::open_websocket(self.authorization.as_deref(), address, &full).await?;
                let status = match &opened {
                    Websocket::Open(_) => StatusCode::SWITCHING_PROTOCOLS,
                    Websocket::Refused(refusal) => refusal.status,
                };
                Ok((status, opened))
            })
            .await?;
        match opened {
            Websocket::Open(connection) => Ok(terminal::converse(connection, command).await),
            Websocket::Refused(refusal) => {
                let status = refusal.status;
                Err(refused(status, &refusal.rest().await?))
            }
        }
    }

    async fn one<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, ApiError> {
        match self.get(path).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn pages<T>(&self, path: &str, of: impl Fn(Page) -> Vec<T>) -> Result<Vec<T>, ApiError> {
        let mut all = Vec::new();
        let mut next = String::new();
        loop {
            let token = utf8_percent_encode(&next, PLAIN);
            let query = if next.is_empty() { String::new() } else { format!("?nextPageToken={token}") };
            let mut page: Page = self.get(&format!("{path}{query}")).await?;
            next = std::mem::take(&mut page.next_page_token);
            all.extend(of(page));
            if next.is_empty() {
                return Ok(all);
            }
        }
    }

    async fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Answer, ApiError> {
        let full = format!("/fleet/v1/{path}");
        let answer = self
            .first_that_answers(async |address| {
                let body = body.clone().map(|body| ("application/json", body));
                let who = self.authorization.as_deref();
                let answer = http::call_as(who, address, method.clone(), &full, body, ANSWER_WITHIN).await;
                answer.map(|answer| (answer.status, answer))
            })
            .await?;
        if answer.status.is_success() { Ok(answer) } else { Err(refused(answer.status, &answer.body)) }
    }

    /// Asks one endpoint after the other, beginning with the one that answered last, until one can serve.
    async fn first_that_answers<T>(
        &self,
        ask: impl AsyncFn(&Address) -> Result<(StatusCode, T), http::HttpError>,
    ) -> Result<T, ApiError> {
        let count = self.addresses.len();
        let mut last = None;
        for step in 0..count {
            let at = (self.current.get() + step) % count;
            match ask(&self.addresses[at]).await {
                Ok((StatusCode::SERVICE_UNAVAILABLE, answer)) if step + 1 < count => last = Some(Ok(answer)),
                Ok((_, answer)) => {
                    self.current.set(at);
                    return Ok(answer);
                }
                // An endpoint that said why it cannot serve says more than one that says nothing.
                Err(error) => last = last.filter(Result::is_ok).or(Some(Err(error.into()))),
            }
        }
        last.unwrap_or_else(|| Err(ApiError::Nonsense { path: "--endpoint".into(), reason: "it is empty".into() }))
    }
}

/// A unit's name as a part of a path.
pub fn escape(name: &str) -> String {
    utf8_percent_encode(name, PLAIN).to_string()
}

fn refused(code: StatusCode, body: &[u8]) -> ApiError {
    let message = serde_json::from_slice::<ErrorBody>(body).map(|body| body.error.message).unwrap_or_default();
    ApiError::Refused { code: code.as_u16(), message }
}

fn found_here(exists: &dyn Fn(&str) -> bool) -> Result<Address, String> {
    match SOCKETS.iter().find(|path| exists(path)) {
        Some(path) => Ok(Address::Unix(path.into())),
        None => endpoint(DEFAULT_ENDPOINT),
    }
}

/// An endpoint as fleetctl takes it.
fn endpoint(text: &str) -> Result<Address, String> {
    let (scheme, rest) = text.split_once("://").ok_or("URL scheme undefined")?;
    match scheme {
        "unix" | "file" if rest.starts_with('/') => Ok(Address::Unix(rest.into())),
        "unix" | "file" => {
            let host = rest.split('/').next().unwrap_or_default();
            Err(format!("unable to connect to host {host:?} with scheme {scheme:?}"))
        }
        "http" | "https" => {
            let authority = rest.split('/').next().unwrap_or_default();
            let port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
            let default = if scheme == "https" { 443 } else { 80 };
            let whole = if port { authority.to_owned() } else { format!("{authority}:{default}") };
            Address::from_url(&format!("{scheme}://{whole}")).map_err(|error| error.to_string())
        }
        other => Err(format!("unsupported protocol scheme {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_as_people_write_them() {
        let cases = [
            ("unix:///var/run/fleet.sock", Ok("unix:/var/run/fleet.sock")),
            ("file:///x", Ok("unix:/x")),
            ("http://127.0.0.1:2379", Ok("127.0.0.1:2379")),
            ("http://node1/", Ok("node1:80")),
            ("http://[::1]:2379/", Ok("[::1]:2379")),
            ("http://[::1]", Ok("[::1]:80")),
            ("https://node1:2379/", Ok("https://node1:2379")),
            ("https://[::1]", Ok("https://[::1]:443")),
            ("127.0.0.1:2379", Err("URL scheme undefined")),
            ("unix://var/run/fleet.sock", Err("unable to connect to host \"var\" with scheme \"unix\"")),
        ];
        for (text, expected) in cases {
            let got = endpoint(text).map(|address| address.to_string());
            assert_eq!(got.as_deref().map_err(String::as_str), expected, "{text}");
        }
        assert!(endpoint("ftp://a").is_err());
    }

    #[test]
    fn a_socket_on_this_machine_comes_first() {
        let found = |there: &'static str| found_here(&move |path| path == there).map(|address| address.to_string());
        assert_eq!(found("/run/node/node.sock"), Ok("unix:/run/node/node.sock".into()));
        assert_eq!(found("/var/run/fleet.sock"), Ok("unix:/var/run/fleet.sock".into()));
        assert_eq!(found("/nowhere"), Ok("127.0.0.1:2379".into()));
    }

    #[test]
    fn refusals_read_as_the_old_library_wrote_them() {
        let error = refused(StatusCode::NOT_FOUND, br#"{"error":{"code":404,"message":"unit does not exist"}}"#);
        assert_eq!(error.to_string(), "googleapi: Error 404: unit does not exist");
        assert!(error.is_missing() && !error.is_unknown_path());
        let error = refused(StatusCode::NOT_FOUND, b"404 page not found");
        assert_eq!(error.to_string(), "googleapi: got HTTP response code 404 with body: ");
        assert!(error.is_unknown_path());
    }
}
