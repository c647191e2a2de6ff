//! A node that is asked over HTTP, and as whom.

use std::fmt;
use std::time::Duration;

use anyhow::Context as _;
use hyper::Method;
use serde_json::{Value, json};

use super::http::{self, Answer, HttpError, Streamed};
use crate::net::Address;
use crate::remote::Login;

/// How long logging in may take.
const LOGIN_WITHIN: Duration = Duration::from_secs(10);

/// Where requests go, with what says who makes them.
pub struct Contact {
    address: Address,
    authorization: Option<String>,
}

impl fmt::Display for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl Contact {
    /// Logs in, if somebody is named. A cluster that asks nobody who he is gives no token.
    ///
    /// # Errors
    /// The node does not answer, or refuses the name and the password.
    pub async fn open(address: Address, login: Option<&Login>) -> anyhow::Result<Self> {
        let nobody = Self { address, authorization: None };
        let Some(Login { user, password }) = login else { return Ok(nobody) };
        let path = "/v3/auth/authenticate";
        let asked = json!({"name": user, "password": password}).to_string().into_bytes();
        let body = Some(("application/json", asked));
        let answer = nobody.call(Method::POST, path, body, LOGIN_WITHIN).await?;
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match (said["token"].as_str(), said["message"].as_str().unwrap_or_default()) {
            (Some(token), _) => Ok(Self { authorization: Some(format!("Bearer {token}")), ..nobody }),
            (None, message) if message.ends_with("is not enabled") => Ok(nobody),
            (None, message) => anyhow::bail!("{nobody}: logging in as {user}: {} {message}", answer.status),
        }
    }

    /// What says who asks, in a header of that name.
    #[cfg(feature = "scheduler")]
    pub fn authorization(&self) -> Option<String> {
        self.authorization.clone()
    }

    /// The same at another node of the cluster, where a token is as good.
    pub fn at(&self, address: Address) -> Self {
        Self { address, authorization: self.authorization.clone() }
    }

    /// See [`http::call`].
    ///
    /// # Errors
    /// [`HttpError`] naming the address.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Vec<u8>)>,
        wait: Duration,
    ) -> Result<Answer, HttpError> {
        http::call_as(self.authorization.as_deref(), &self.address, method, path, body, wait).await
    }

    /// See [`http::open`].
    ///
    /// # Errors
    /// [`HttpError`] naming the address.
    pub async fn open_stream(&self, method: Method, path: &str) -> Result<Streamed, HttpError> {
        http::open_as(self.authorization.as_deref(), &self.address, method, path, None).await
    }

    /// A call of the JSON gateway.
    ///
    /// # Errors
    /// What the node refuses, or that it does not answer.
    pub async fn tell(&self, path: &str, message: &Value, wait: Duration) -> anyhow::Result<Value> {
        let body = Some(("application/json", message.to_string().into_bytes()));
        // The error's text has its causes in it already.
        let answer = self.call(Method::POST, path, body, wait).await.map_err(|error| anyhow::anyhow!("{error}"))?;
        anyhow::ensure!(
            answer.status.is_success(),
            "{self}: {path}: {}: {}",
            answer.status,
            String::from_utf8_lossy(&answer.body).trim()
        );
        serde_json::from_slice(&answer.body).with_context(|| format!("{self}: {path}: the answer is no JSON"))
    }
}
