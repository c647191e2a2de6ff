//! A name and a password for somebody else's etcd, and the token that they give.

use std::fmt;
use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::base::with_causes;
use crate::net::{Address, http};
use crate::wire::etcdserverpb::AuthenticateRequest;
use crate::wire::etcdserverpb::auth_client::AuthClient;

/// Who calls.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    pub password: String,
}

impl Login {
    /// The same as HTTP's basic authentication has it.
    pub fn basic(&self) -> String {
        http::basic(&format!("{}:{}", self.user, self.password))
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({})", self.user)
    }
}

/// Adds a token, if there is one, to every call.
#[derive(Clone, Default)]
pub struct Token(Option<MetadataValue<Ascii>>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("token", token.clone());
        }
        Ok(request)
    }
}

/// A channel whose calls say who makes them.
pub type Line = InterceptedService<Channel, Token>;

/// No line could be opened.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    #[error("{}", with_causes(.0))]
    Connect(#[from] tonic::transport::Error),
    /// The name and the password were refused, or could not be looked at.
    #[error("{}", .0.message())]
    Refused(Status),
}

/// Opens a channel to `address` and logs in there, both within `wait`. A cluster that asks nobody who it is gives no token.
///
/// # Errors
/// [`LineError`].
pub async fn line(address: &Address, wait: Duration, login: Option<&Login>) -> Result<Line, LineError> {
    let channel = super::channel(address, wait).await?;
    let token = match login {
        None => Token::default(),
        Some(login) => log_in(&channel, wait, login).await?,
    };
    Ok(InterceptedService::new(channel, token))
}

async fn log_in(channel: &Channel, wait: Duration, login: &Login) -> Result<Token, LineError> {
    let mut client = AuthClient::new(channel.clone());
    let Login { user, password } = login.clone();
    let asking = client.authenticate(AuthenticateRequest { name: user, password });
    let answer = match tokio::time::timeout(wait, asking).await {
        Ok(answer) => answer,
        Err(_) => return Err(LineError::Refused(Status::deadline_exceeded(format!("no token within {wait:?}")))),
    };
    match answer {
        Ok(answer) => {
            let token = answer.into_inner().token.parse();
            token.map(|token| Token(Some(token))).map_err(|_| LineError::Refused(Status::internal("bad token")))
        }
        Err(status) if status.code() == Code::FailedPrecondition && status.message().ends_with("is not enabled") => {
            Ok(Token::default())
        }
        Err(status) => Err(LineError::Refused(status)),
    }
}
