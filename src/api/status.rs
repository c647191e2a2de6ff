//! Which refusal gets which code: gRPC codes and texts as in etcd's `rpctypes`, HTTP codes of the v2 API and the gateway.
//!
//! etcd's clients compare texts as a whole, so where etcd has a text it is sent as it is, and what is known beyond it
//! goes to the log. Codes are decided here and nowhere else.

use hyper::StatusCode;
use tonic::{Code, Status};

use super::body::BodyError;
#[cfg(feature = "scheduler")]
use super::fleet::Failure;
use super::{history, joining, secrets};
use crate::backup::BackupError;
use crate::base::limits::GRPC_MESSAGE_BYTES_MAX;
#[cfg(feature = "scheduler")]
use crate::fleet::{executor::ExecutorError, inspect::InspectError};
use crate::kv::auth::AuthError;
use crate::kv::{KvError, MemberRefusal, PastRefusal, StoreError};
use crate::wire::program::Refusal;

/// A refusal of the state machine as gRPC.
pub fn refused(error: &KvError) -> Status {
    let code = match error {
        KvError::Auth(refusal) => return unauthorized(*refusal),
        KvError::EmptyKey
        | KvError::KeyNotFound
        | KvError::ValueProvided
        | KvError::LeaseProvided
        | KvError::TooManyOps
        | KvError::DuplicateKey
        | KvError::InvalidSortOption
        | KvError::RequestTooLarge => Code::InvalidArgument,
        KvError::Compacted { .. } | KvError::FutureRevision | KvError::LeaseTtlTooLarge => Code::OutOfRange,
        KvError::LeaseNotFound => Code::NotFound,
        KvError::LeaseExists => Code::FailedPrecondition,
        KvError::NoSpace => Code::ResourceExhausted,
        KvError::Corrupt => Code::DataLoss,
    };
    Status::new(code, format!("etcdserver: {error}"))
}

/// A refusal that speaks of users as gRPC.
fn unauthorized(refusal: AuthError) -> Status {
    let code = match refusal {
        AuthError::UserEmpty
        | AuthError::RoleEmpty
        | AuthError::PermissionNotGiven
        | AuthError::Failed
        | AuthError::OldRevision
        | AuthError::InvalidManagement => Code::InvalidArgument,
        AuthError::RootUserMissing
        | AuthError::RootRoleMissing
        | AuthError::UserExists
        | AuthError::UserNotFound
        | AuthError::RoleExists
        | AuthError::RoleNotFound
        | AuthError::RoleNotGranted
        | AuthError::PermissionNotGranted
        | AuthError::NotEnabled => Code::FailedPrecondition,
        AuthError::Denied => Code::PermissionDenied,
        AuthError::InvalidToken => Code::Unauthenticated,
        // etcd has no code for it.
        AuthError::NoPasswordUser => return Status::unknown(format!("auth: {refusal}")),
    };
    Status::new(code, format!("etcdserver: {refusal}"))
}

/// A failure of the store as gRPC.
pub fn failed(error: &StoreError) -> Status {
    if !matches!(error, StoreError::Refused(_) | StoreError::Member(_)) {
        tracing::warn!(%error, "a request failed");
    }
    match error {
        StoreError::Refused(refusal) => refused(refusal),
        StoreError::NoQuorum { .. } => Status::unavailable(format!("etcdserver: {error}")),
        StoreError::NoLeader { .. } => no_leader(),
        StoreError::TimedOut { .. } => Status::unavailable("etcdserver: request timed out"),
        StoreError::Overloaded(_) => Status::resource_exhausted("etcdserver: too many requests"),
        StoreError::Stopping => stopping(),
        StoreError::NotLeader { .. } => Status::failed_precondition("etcdserver: not leader"),
        StoreError::CannotLead { .. } => Status::failed_precondition("etcdserver: bad leader transferee"),
        StoreError::Member(refusal) => member_refused(*refusal),
        StoreError::Unsupported(what) => unsupported(what),
        StoreError::Broken(_) => Status::data_loss(format!("etcdserver: {error}")),
    }
}

/// A refused change of the members. That too few have started has no code of its own in etcd either.
fn member_refused(refusal: MemberRefusal) -> Status {
    let code = match refusal {
        MemberRefusal::NotFound => Code::NotFound,
        MemberRefusal::BadUrls => Code::InvalidArgument,
        MemberRefusal::NotEnoughStarted => Code::Unknown,
        MemberRefusal::Unhealthy => Code::Unavailable,
        MemberRefusal::IdTaken
        | MemberRefusal::UrlTaken
        | MemberRefusal::NotALearner
        | MemberRefusal::NotInSync
        | MemberRefusal::TooManyLearners => Code::FailedPrecondition,
    };
    Status::new(code, format!("etcdserver: {refusal}"))
}

/// A request that did not arrive as a whole. That one message is too large is said in the words of Go's library.
pub(super) fn unreceived(failure: &BodyError) -> Status {
    match failure {
        BodyError::MessageTooLarge(bytes) => Status::resource_exhausted(format!(
            "grpc: received message larger than max ({bytes} vs. {GRPC_MESSAGE_BYTES_MAX})"
        )),
        BodyError::NoRoom(_) => Status::resource_exhausted("etcdserver: too many requests"),
        BodyError::TooSlow(_) | BodyError::Silent(_) => Status::deadline_exceeded(failure.to_string()),
        BodyError::TooLarge(_) | BodyError::Broken(_) => Status::invalid_argument(failure.to_string()),
    }
}

/// The same over HTTP.
pub(super) fn unreceived_http(failure: &BodyError) -> StatusCode {
    match failure {
        BodyError::TooLarge(_) | BodyError::MessageTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        BodyError::NoRoom(_) => StatusCode::SERVICE_UNAVAILABLE,
        BodyError::TooSlow(_) | BodyError::Silent(_) => StatusCode::REQUEST_TIMEOUT,
        BodyError::Broken(_) => StatusCode::BAD_REQUEST,
    }
}

/// There is no leader, and the client asked for one.
pub fn no_leader() -> Status {
    Status::unavailable("etcdserver: no leader")
}

/// The doors are closing.
pub fn stopping() -> Status {
    Status::unavailable("etcdserver: server stopped")
}

/// This call is not offered here.
pub fn unsupported(what: &str) -> Status {
    Status::unimplemented(format!("etcdserver: not supported: {what}"))
}

/// The request makes no sense.
pub fn nonsense(what: &str) -> Status {
    Status::invalid_argument(format!("etcdserver: {what}"))
}

/// There is no older version's format to go back to.
pub fn no_downgrade_to(version: &str) -> Status {
    let parts: Vec<&str> = version.split('.').collect();
    let number = |part: &&str| part.parse::<u32>().is_ok();
    match parts.len() {
        2 | 3 if parts.iter().all(number) => nonsense("invalid downgrade target version"),
        _ => nonsense("wrong downgrade target version format"),
    }
}

/// There is no downgrade to call off.
pub fn no_downgrade() -> Status {
    Status::failed_precondition("etcdserver: no inflight downgrade job")
}

/// A reply of another kind than the request's: the store broke its word.
pub fn wrong_reply() -> Status {
    Status::internal("etcdserver: the store answered with a reply of another kind")
}

/// The lease of one who waits in a queue of `what` (`mutex`, `election`) has ended, and its place with it. etcd gives no
/// code of its own to what its locks and elections refuse.
pub fn session_expired(what: &str) -> Status {
    Status::unknown(format!("{what}: session is expired"))
}

/// The key that a leader shows is not, or no longer, that of an election's participant.
pub fn not_leader() -> Status {
    Status::unknown("election: not leader")
}

/// Nobody takes part in the election.
pub fn nobody_elected() -> Status {
    Status::unknown("election: no leader")
}

/// The request lacks the key that campaigning gave.
pub fn leader_missing() -> Status {
    Status::unknown("\"leader\" field must be provided")
}

/// The client left while it waited.
pub fn client_gone() -> Status {
    Status::cancelled("the client left while it waited")
}

/// A health check asks for a service that is not told of.
pub fn unknown_service() -> Status {
    Status::not_found("unknown service")
}

/// The HTTP status of a gRPC code in the JSON gateway.
pub fn gateway(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Cancelled => StatusCode::REQUEST_TIMEOUT,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// v2: there are as many members as the cluster is to have.
pub const V2_CLUSTER_FULL: u16 = 103;
/// v2: the form is malformed or too large.
pub const V2_INVALID_FORM: u16 = 210;
/// v2: there is nothing of that name.
pub const V2_NOT_FOUND: u16 = 100;
/// v2: what is there is not to be written.
pub const V2_READ_ONLY: u16 = 107;
/// v2: nobody who may do it asks.
pub const V2_UNAUTHORIZED: u16 = 110;
/// v2: what was asked for went out of history.
pub const V2_INDEX_CLEARED: u16 = 401;
/// v2: the watch cannot go on.
pub const V2_WATCHER_CLEARED: u16 = 400;

/// The message and HTTP status of an error number of the v2 API.
pub fn v2(code: u16) -> (&'static str, StatusCode) {
    const BAD: StatusCode = StatusCode::BAD_REQUEST;
    match code {
        V2_NOT_FOUND => ("Key not found", StatusCode::NOT_FOUND),
        101 => ("Compare failed", StatusCode::PRECONDITION_FAILED),
        102 => ("Not a file", StatusCode::FORBIDDEN),
        V2_CLUSTER_FULL => ("Reached the max number of peers in the cluster", StatusCode::FORBIDDEN),
        104 => ("Not a directory", BAD),
        105 => ("Key already exists", StatusCode::PRECONDITION_FAILED),
        106 => ("The prefix of given key is a keyword in etcd", BAD),
        V2_READ_ONLY => ("Root is read only", BAD),
        108 => ("Directory not empty", StatusCode::FORBIDDEN),
        109 => ("Peer address has existed", BAD),
        V2_UNAUTHORIZED => ("The request requires user authentication", StatusCode::UNAUTHORIZED),
        200 => ("Value is Required in POST form", BAD),
        201 => ("PrevValue is Required in POST form", BAD),
        202 => ("The given TTL in POST form is not a number", BAD),
        203 => ("The given index in POST form is not a number", BAD),
        204 => ("Value or TTL is required in POST form", BAD),
        205 => ("The given timeout in POST form is not a number", BAD),
        206 => ("Name is required in POST form", BAD),
        207 => ("Index or value is required", BAD),
        208 => ("Index and value cannot both be specified", BAD),
        209 => ("Invalid field", BAD),
        V2_INVALID_FORM => ("Invalid POST form", BAD),
        211 => ("Value provided on refresh", BAD),
        212 => ("A TTL must be provided on refresh", BAD),
        301 => ("During Leader Election", StatusCode::INTERNAL_SERVER_ERROR),
        V2_WATCHER_CLEARED => ("watcher is cleared due to etcd recovery", BAD),
        V2_INDEX_CLEARED => ("The event in requested index is outdated and cleared", BAD),
        _ => ("Raft Internal Error", StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// The HTTP status of a failure of fleet's API.
#[cfg(feature = "scheduler")]
pub(super) fn fleet(failure: &Failure) -> StatusCode {
    match failure {
        Failure::Bad(_) => StatusCode::BAD_REQUEST,
        Failure::NotFound(_) => StatusCode::NOT_FOUND,
        Failure::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
        Failure::Conflict(_) => StatusCode::CONFLICT,
        Failure::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
        Failure::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Failure::Store(StoreError::Refused(_)) => StatusCode::BAD_REQUEST,
        Failure::Store(_) | Failure::Contended { .. } | Failure::NotReady => StatusCode::SERVICE_UNAVAILABLE,
        Failure::Inspect(InspectError::NoSuchMachine(_) | InspectError::Elsewhere) => StatusCode::NOT_FOUND,
        Failure::Inspect(InspectError::Unreachable { .. } | InspectError::Refused { .. }) => StatusCode::BAD_GATEWAY,
        Failure::Inspect(InspectError::TimedOut { .. }) => StatusCode::GATEWAY_TIMEOUT,
        Failure::Inspect(InspectError::Executor(error)) => match error {
            ExecutorError::NotLoaded { .. } => StatusCode::NOT_FOUND,
            ExecutorError::Unsupported { .. } => StatusCode::BAD_REQUEST,
            ExecutorError::TimedOut { .. } => StatusCode::GATEWAY_TIMEOUT,
            ExecutorError::Failed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        },
    }
}

/// The HTTP status of a failure of the door to history.
pub(super) fn history(failure: &history::Failure) -> StatusCode {
    use history::Failure;
    match failure {
        Failure::Bad(_) => StatusCode::BAD_REQUEST,
        Failure::Past(PastRefusal::Gone { .. }) => StatusCode::GONE,
        Failure::Past(PastRefusal::Future { .. } | PastRefusal::Backwards { .. }) => StatusCode::BAD_REQUEST,
        Failure::Store(StoreError::Refused(KvError::Auth(AuthError::Denied))) => StatusCode::FORBIDDEN,
        Failure::Store(StoreError::Refused(KvError::Auth(_))) => StatusCode::UNAUTHORIZED,
        Failure::Store(StoreError::Refused(_)) => StatusCode::BAD_REQUEST,
        Failure::Store(StoreError::Unsupported(_)) => StatusCode::NOT_IMPLEMENTED,
        Failure::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The HTTP status for who is not let in to what is root's.
pub(super) fn not_administrator(error: &StoreError) -> StatusCode {
    match error {
        StoreError::Refused(KvError::Auth(AuthError::Denied)) => StatusCode::FORBIDDEN,
        StoreError::Refused(_) => StatusCode::UNAUTHORIZED,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The HTTP status for a backup that was not made, listed or read.
pub(super) fn backup_failed(error: &BackupError) -> StatusCode {
    match error {
        BackupError::Name(_) => StatusCode::BAD_REQUEST,
        BackupError::Absent { .. } => StatusCode::NOT_FOUND,
        BackupError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        BackupError::Remote(_) => StatusCode::BAD_GATEWAY,
        BackupError::Io { .. } | BackupError::Snapshot(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The HTTP status for a secret that was not kept, listed or removed.
pub(super) fn secret_refused(failure: &secrets::Failure) -> StatusCode {
    use secrets::Failure;
    match failure {
        Failure::Name(_) => StatusCode::BAD_REQUEST,
        Failure::Body(error) => unreceived_http(error),
        Failure::Absent(_) => StatusCode::NOT_FOUND,
        Failure::Exists(_) | Failure::Full => StatusCode::CONFLICT,
        Failure::Store(StoreError::Refused(_)) => StatusCode::BAD_REQUEST,
        Failure::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// What is said to those who come without a certificate where one is needed.
pub const NO_CERTIFICATE: &str = "this takes a certificate of the cluster; `node ctl login` on a member gets one";

/// The same as gRPC.
pub fn no_certificate() -> Status {
    Status::unauthenticated(NO_CERTIFICATE)
}

/// The HTTP code of what the door for joining machines refuses. 503: the same may be done in a moment.
pub(super) fn joining(failure: &joining::Failure) -> StatusCode {
    use joining::Failure;
    match failure {
        Failure::Bad(_) => StatusCode::BAD_REQUEST,
        Failure::Token(_) | Failure::NotAllowed(_) => StatusCode::FORBIDDEN,
        Failure::Taken(_) | Failure::InUse(_) | Failure::Authority(_) => StatusCode::CONFLICT,
        Failure::NoToken | Failure::NoCertificate => StatusCode::NOT_FOUND,
        Failure::Store(StoreError::Refused(KvError::Auth(_))) => StatusCode::UNAUTHORIZED,
        Failure::Later(_) | Failure::TooEarly => StatusCode::SERVICE_UNAVAILABLE,
        Failure::Store(StoreError::Refused(_) | StoreError::Member(_)) => StatusCode::CONFLICT,
        Failure::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        Failure::Tls(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The HTTP code of what the door for a node's program refuses.
pub(super) fn program(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::Bad(_) => StatusCode::BAD_REQUEST,
        Refusal::Refused(_) => StatusCode::CONFLICT,
        Refusal::Unreachable(_) => StatusCode::BAD_GATEWAY,
        Refusal::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The v2 error number of a failure of the store.
pub fn v2_failed(error: &StoreError) -> u16 {
    if !matches!(error, StoreError::Refused(_)) {
        tracing::warn!(%error, "a request failed");
    }
    match error {
        StoreError::NoLeader { .. } => 301,
        StoreError::Refused(KvError::RequestTooLarge) => V2_INVALID_FORM,
        StoreError::Refused(KvError::Auth(_)) => V2_UNAUTHORIZED,
        _ => 300,
    }
}
