//! Tokens and passwords, and the doors' way with them: over real connections to a store in memory.
#![allow(clippy::unwrap_used)]

use base64::Engine as _;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::password::Passwords;
use super::token::Tokens;
use super::*;
use crate::api::test_store::{Fixed, House, house, soon};
use crate::base::UnixMillis;
use crate::kv::Store as _;
use crate::kv::auth::{Change, Permission, ROOT};
use crate::wire::etcdserverpb as pb;
use crate::wire::{v3electionpb as election, v3lockpb as lock};
use pb::auth_client::AuthClient;
use pb::cluster_client::ClusterClient;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::maintenance_client::MaintenanceClient;
use pb::watch_client::WatchClient;

const NOW: UnixMillis = UnixMillis(1_000_000);

fn change(house: &House, change: Change) {
    let auth = house.store.auth();
    let op = Op::Auth(change);
    let op = match auth.enabled() {
        true => Op::As { user: ROOT.to_owned(), auth_revision: auth.revision(), op: Box::new(op) },
        false => op,
    };
    house.store.apply(op).result.unwrap();
}

fn user(name: &str, password: Option<&str>) -> Change {
    let hash = |password| PasswordHash(bcrypt::hash_with_salt(password, 4, [1; 16]).unwrap().to_string());
    Change::UserAdd { name: name.to_owned(), password: password.map(hash) }
}

fn grant(role: &str, access: Access, key: &'static str, end: &'static str) -> Change {
    let permission = Permission { access, key: key.into(), range_end: end.into() };
    Change::RoleGrant { name: role.to_owned(), permission }
}

/// Doors where users are asked for: `root` with the password `r`; `u` with `p` reads and writes what begins with
/// `u/` or `/u/`, reads `r`, and writes `w`; nobody's password lets `n` in.
async fn guarded() -> House {
    let house = house().await;
    let named = |user: &str, role: &str| Change::UserGrant { name: user.to_owned(), role: role.to_owned() };
    let changes = [
        user(ROOT, Some("r")),
        named(ROOT, ROOT),
        user("u", Some("p")),
        user("n", None),
        Change::RoleAdd { name: "ur".to_owned() },
        named("u", "ur"),
        grant("ur", Access::ReadWrite, "u/", "u0"),
        grant("ur", Access::ReadWrite, "/u/", "/u0"),
        grant("ur", Access::Read, "r", ""),
        grant("ur", Access::Write, "w", ""),
    ];
    changes.into_iter().for_each(|one| change(&house, one));
    for key in ["r", "w", "x", "u/1", "/u/1", "/x/1"] {
        house.store.apply(Op::put(key, "old")).result.unwrap();
    }
    change(&house, Change::Enable { secret: [5; 32] });
    house
}

async fn channel(house: &House) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{}", house.address)).unwrap();
    soon(endpoint.connect()).await.unwrap()
}

async fn log_in(house: &House, name: &str, password: &str) -> Result<String, Status> {
    let request = pb::AuthenticateRequest { name: name.to_owned(), password: password.to_owned() };
    let mut client = AuthClient::new(channel(house).await);
    Ok(soon(client.authenticate(request)).await?.into_inner().token)
}

fn with<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if !token.is_empty() {
        request.metadata_mut().insert("token", MetadataValue::try_from(token).unwrap());
    }
    request
}

fn told<T>(answer: Result<T, Status>) -> Option<(Code, String)> {
    answer.err().map(|status| (status.code(), status.message().to_owned()))
}

fn refusal(code: Code, text: &str) -> Option<(Code, String)> {
    Some((code, format!("etcdserver: {text}")))
}

fn range(key: &'static str, end: &'static str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.into(), range_end: end.into(), ..Default::default() }
}

fn put(key: &'static str) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: "new".into(), ..Default::default() }
}

#[test]
fn a_token_lasts_from_its_last_use_and_is_void_without_its_user() {
    let mut state = crate::kv::State::load(&crate::kv::mem::MemTables::default()).unwrap();
    let mut tables = crate::kv::mem::MemTables::default();
    let mut apply = |op: Change| {
        let at = crate::kv::LogPosition { index: 1, term: 1 };
        let op = Op::Auth(op);
        let op = match state.auth().enabled() {
            true => Op::As { user: ROOT.to_owned(), auth_revision: state.auth().revision(), op: Box::new(op) },
            false => op,
        };
        let command = crate::kv::Command { stamp: UnixMillis(0), op };
        crate::kv::apply(&mut state, &mut tables, &command, at).unwrap().0.result.unwrap();
        state.auth().clone()
    };
    apply(user(ROOT, None));
    apply(Change::UserGrant { name: ROOT.to_owned(), role: ROOT.to_owned() });
    let off = apply(user("u", None));
    let on = apply(Change::Enable { secret: [1; 32] });
    let random = Fixed::default();
    let issuer = Tokens::new(300);
    assert_eq!(issuer.issue(&off, "u", NOW, &random), None);
    assert_eq!(issuer.issue(&on, "nobody", NOW, &random), None);
    let token = issuer.issue(&on, "u", NOW, &random).unwrap();
    assert_ne!(issuer.issue(&on, "u", NOW, &random).unwrap(), token);
    // Another member knows it without having heard of it.
    for member in [issuer, Tokens::new(300)] {
        let at = |seconds: i64| member.user(&on, &token, NOW.plus_ms(seconds * 1000));
        let u = Some("u".to_owned());
        assert_eq!((at(0), at(299), at(598), at(897)), (u.clone(), u.clone(), u.clone(), u));
        assert_eq!((at(897 + 300), at(897 + 301)), (None, None));
    }
    let fresh = || Tokens::new(300);
    assert_eq!(fresh().user(&on, &token, NOW.plus_ms(300_000)), None);
    assert_eq!(fresh().user(&on, &token, NOW.plus_ms(-300_000)), Some("u".to_owned()));
    assert_eq!(fresh().user(&on, &token, NOW.plus_ms(-300_001)), None);
    for at in 0..token.len() {
        let mut forged = token.clone().into_bytes();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        assert_eq!(fresh().user(&on, &String::from_utf8(forged).unwrap(), NOW), None, "letter {at}");
        assert_eq!(fresh().user(&on, &token[..at], NOW), None);
    }
    for nonsense in ["", "a", "DFTIyACICcrNBcXR.14", "ä", &"A".repeat(5000)] {
        assert_eq!(fresh().user(&on, nonsense, NOW), None, "{nonsense}");
    }
    // Roles come and go without harm; a new password, the user's end and the end of it all void it.
    let granted = apply(Change::UserGrant { name: "u".to_owned(), role: ROOT.to_owned() });
    assert!(fresh().user(&granted, &token, NOW).is_some());
    let hash = PasswordHash(String::new());
    let renewed = apply(Change::UserPassword { name: "u".to_owned(), password: hash });
    assert_eq!(fresh().user(&renewed, &token, NOW), None);
    let token = fresh().issue(&renewed, "u", NOW, &random).unwrap();
    assert_eq!(fresh().user(&apply(Change::UserDelete { name: "u".to_owned() }), &token, NOW), None);
    assert_eq!(fresh().user(&apply(user("u", None)), &token, NOW), None);
    let token = fresh().issue(&apply(grant_nothing()), "u", NOW, &random).unwrap();
    assert_eq!(fresh().user(&apply(Change::Disable), &token, NOW), None);
    assert_eq!(fresh().user(&apply(Change::Enable { secret: [2; 32] }), &token, NOW), None);
}

fn grant_nothing() -> Change {
    Change::RoleAdd { name: "nothing".to_owned() }
}

#[tokio::test]
async fn passwords_fit_or_do_not() {
    let random = Fixed::default();
    let passwords = Passwords::new(4, &random);
    let hash = passwords.hash("secret", &random).await.unwrap();
    assert!(hash.0.starts_with("$2b$04$") && !format!("{hash:?}").contains("$2b"));
    assert_ne!(hash, passwords.hash("secret", &random).await.unwrap());
    for (password, kept, fits) in [
        ("secret", Some(&hash), true),
        ("Secret", Some(&hash), false),
        ("", Some(&hash), false),
        ("secret", None, false),
        ("x", Some(&PasswordHash("no hash".to_owned())), false),
        // As Go writes them.
        ("U*U", Some(&PasswordHash("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW".to_owned())), true),
    ] {
        assert_eq!(passwords.fit(password, kept).await.unwrap(), fits, "{password} {kept:?}");
        for _ in 0..2 {
            assert_eq!(passwords.fits_again("u", password, kept).await.unwrap(), fits, "{password} {kept:?}");
        }
    }
    let other = passwords.hash("other", &random).await.unwrap();
    assert!(!passwords.fits_again("u", "secret", Some(&other)).await.unwrap());
}

#[tokio::test]
async fn who_logs_in_gets_a_token() {
    let house = guarded().await;
    assert_eq!(
        told(log_in(&house, "u", "wrong").await),
        refusal(Code::InvalidArgument, "authentication failed, invalid user ID or password")
    );
    assert_eq!(
        told(log_in(&house, "nobody", "p").await),
        refusal(Code::InvalidArgument, "authentication failed, invalid user ID or password")
    );
    let no_password = "auth: authentication failed, password was given for no password user";
    assert_eq!(told(log_in(&house, "n", "p").await), Some((Code::Unknown, no_password.to_owned())));
    let token = log_in(&house, "u", "p").await.unwrap();
    let mut kv = KvClient::new(channel(&house).await);
    assert_eq!(soon(kv.range(with(&token, range("r", "")))).await.unwrap().into_inner().count, 1);
    let bad = soon(kv.range(with("bad", range("r", "")))).await;
    assert_eq!(told(bad), refusal(Code::Unauthenticated, "invalid auth token"));
    for (name, value) in [("authorization", token.clone()), ("authorization", format!("Bearer {token}"))] {
        let mut request = Request::new(range("r", ""));
        request.metadata_mut().insert(name, MetadataValue::try_from(value).unwrap());
        assert_eq!(soon(kv.range(request)).await.unwrap().into_inner().count, 1, "{name}");
    }
    house.clock.now.fetch_add(300_000, std::sync::atomic::Ordering::Relaxed);
    let late = soon(kv.range(with(&token, range("r", "")))).await;
    assert_eq!(told(late), refusal(Code::Unauthenticated, "invalid auth token"));
    change(&house, Change::Disable);
    assert_eq!(
        told(log_in(&house, "u", "p").await),
        refusal(Code::FailedPrecondition, "authentication is not enabled")
    );
    // A token that is no use any more does no harm.
    assert!(soon(kv.range(with(&token, range("x", "")))).await.is_ok());
    assert!(soon(kv.put(with(&token, put("x")))).await.is_ok());
}

#[tokio::test]
async fn keys_are_read_and_written_by_those_who_may() {
    let house = guarded().await;
    let (u, root) = (log_in(&house, "u", "p").await.unwrap(), log_in(&house, ROOT, "r").await.unwrap());
    let mut kv = KvClient::new(channel(&house).await);
    let denied = || refusal(Code::PermissionDenied, "permission denied");
    let empty = || refusal(Code::InvalidArgument, "user name is empty");
    for serializable in [false, true] {
        for (token, key, end, expected) in [
            (&u, "r", "", None),
            (&u, "u/", "u0", None),
            (&u, "u/", "u1", denied()),
            (&u, "w", "", denied()),
            (&u, "r", "\0", denied()),
            (&u, "\0", "\0", denied()),
            (&root, "\0", "\0", None),
            (&String::new(), "r", "", empty()),
        ] {
            let request = pb::RangeRequest { serializable, ..range(key, end) };
            assert_eq!(told(soon(kv.range(with(token, request))).await), expected, "{key} {end}");
        }
    }
    for (token, key, prev_kv, expected) in [
        (&u, "u/2", true, None),
        (&u, "w", false, None),
        (&u, "w", true, denied()),
        (&u, "r", false, denied()),
        (&root, "x", true, None),
        (&String::new(), "u/2", false, empty()),
    ] {
        let request = pb::PutRequest { prev_kv, ..put(key) };
        assert_eq!(told(soon(kv.put(with(token, request))).await), expected, "{key}");
    }
    let delete = |end: &'static str| pb::DeleteRangeRequest { key: "u/".into(), range_end: end.into(), prev_kv: true };
    assert_eq!(told(soon(kv.delete_range(with(&u, delete("u1")))).await), denied());
    assert_eq!(told(soon(kv.delete_range(with(&u, delete("u0")))).await), None);
    let compact = pb::CompactionRequest { revision: 2, physical: false };
    assert_eq!(told(soon(kv.compact(with(&u, compact))).await), denied());
    assert_eq!(told(soon(kv.compact(with("", compact))).await), empty());
    assert_eq!(told(soon(kv.compact(with(&root, compact))).await), None);
    // What is taken back is gone with the next request.
    change(&house, Change::RoleRevoke { name: "ur".to_owned(), key: "r".into(), range_end: "".into() });
    assert_eq!(told(soon(kv.range(with(&u, range("r", "")))).await), denied());
    change(&house, Change::UserDelete { name: "u".to_owned() });
    let gone = soon(kv.range(with(&u, range("u/", "u0")))).await;
    assert_eq!(told(gone), refusal(Code::Unauthenticated, "invalid auth token"));
}

#[tokio::test]
async fn users_and_roles_are_the_administrators() {
    let house = guarded().await;
    let (u, root) = (log_in(&house, "u", "p").await.unwrap(), log_in(&house, ROOT, "r").await.unwrap());
    let mut auth = AuthClient::new(channel(&house).await);
    let denied = || refusal(Code::PermissionDenied, "permission denied");
    let get = |name: &str| pb::AuthUserGetRequest { name: name.to_owned() };
    let role = |role: &str| pb::AuthRoleGetRequest { role: role.to_owned() };
    assert_eq!(soon(auth.user_get(with(&u, get("u")))).await.unwrap().into_inner().roles, ["ur"]);
    assert_eq!(told(soon(auth.user_get(with(&u, get(ROOT)))).await), denied());
    let perm = soon(auth.role_get(with(&u, role("ur")))).await.unwrap().into_inner().perm;
    let keys: Vec<&[u8]> = perm.iter().map(|one| &one.key[..]).collect();
    assert_eq!(keys, [&b"/u/"[..], b"r", b"u/", b"w"]);
    assert_eq!(told(soon(auth.role_get(with(&u, role(ROOT)))).await), denied());
    assert_eq!(told(soon(auth.user_list(with(&u, pb::AuthUserListRequest {}))).await), denied());
    assert_eq!(told(soon(auth.auth_status(with(&u, pb::AuthStatusRequest {}))).await), denied());
    assert_eq!(told(soon(auth.auth_disable(with(&u, pb::AuthDisableRequest {}))).await), denied());
    let add =
        |name: &str| pb::AuthUserAddRequest { name: name.to_owned(), password: "pw".to_owned(), ..Default::default() };
    assert_eq!(told(soon(auth.user_add(with(&u, add("v")))).await), denied());
    let status = soon(auth.auth_status(with(&root, pb::AuthStatusRequest {}))).await.unwrap().into_inner();
    assert!(status.enabled && status.auth_revision > 1);
    assert_eq!(told(soon(auth.user_add(with(&root, add("v")))).await), None);
    assert_eq!(
        told(soon(auth.user_add(with(&root, add("v")))).await),
        refusal(Code::FailedPrecondition, "user name already exists")
    );
    let users = soon(auth.user_list(with(&root, pb::AuthUserListRequest {}))).await.unwrap().into_inner().users;
    assert_eq!(users, ["n", ROOT, "u", "v"]);
    let old = log_in(&house, "v", "pw").await.unwrap();
    let password =
        pb::AuthUserChangePasswordRequest { name: "v".to_owned(), password: "new".to_owned(), ..Default::default() };
    assert_eq!(told(soon(auth.user_change_password(with(&root, password))).await), None);
    assert_eq!(
        told(soon(auth.user_get(with(&old, get("v")))).await),
        refusal(Code::Unauthenticated, "invalid auth token")
    );
    assert!(log_in(&house, "v", "pw").await.is_err() && log_in(&house, "v", "new").await.is_ok());
    let nothing = pb::AuthRoleGrantPermissionRequest { name: "ur".to_owned(), perm: None };
    assert_eq!(
        told(soon(auth.role_grant_permission(with(&root, nothing))).await),
        refusal(Code::InvalidArgument, "permission not given")
    );
}

#[tokio::test]
async fn a_watch_sees_what_its_user_may_read_and_ends_when_he_may_not() {
    use pb::watch_request::RequestUnion;
    let house = guarded().await;
    let token = log_in(&house, "u", "p").await.unwrap();
    let open = async |token: &str, key: &'static str, end: &'static str| {
        let create = pb::WatchCreateRequest { key: key.into(), range_end: end.into(), ..Default::default() };
        let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let requests = futures_util::stream::StreamExt::chain(
            futures_util::stream::iter([request]),
            futures_util::stream::pending(),
        );
        let mut client = WatchClient::new(channel(&house).await);
        soon(client.watch(with(token, requests))).await.unwrap().into_inner()
    };
    let denied = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
    // One key that may be read lets nobody see all that comes behind it.
    for (key, end) in [("r", "\0"), ("w", ""), ("u/", "\0"), ("", "\0"), ("u/", "u1")] {
        let mut answers = open(&token, key, end).await;
        let first = soon(answers.message()).await.unwrap().unwrap();
        assert!(first.created && first.canceled, "{key} {end}");
        assert_eq!((first.watch_id, first.cancel_reason.as_str()), (-1, denied), "{key} {end}");
    }
    let mut nobody = open("", "r", "").await;
    let first = soon(nobody.message()).await.unwrap().unwrap();
    assert_eq!(first.cancel_reason, "rpc error: code = InvalidArgument desc = etcdserver: user name is empty");
    let mut watched = open(&token, "u/", "u0").await;
    assert!(soon(watched.message()).await.unwrap().unwrap().created);
    let auth = house.store.auth();
    let by_root = |op: Op, revision| Op::As { user: ROOT.to_owned(), auth_revision: revision, op: Box::new(op) };
    house.store.apply(by_root(Op::put("u/7", "seen"), auth.revision())).result.unwrap();
    assert_eq!(soon(watched.message()).await.unwrap().unwrap().events.len(), 1);
    // Long after the token is over the watch goes on, until its permission does not.
    house.clock.now.fetch_add(3_000_000, std::sync::atomic::Ordering::Relaxed);
    house.store.apply(by_root(Op::put("u/7", "seen"), auth.revision())).result.unwrap();
    assert_eq!(soon(watched.message()).await.unwrap().unwrap().events.len(), 1);
    change(&house, Change::RoleRevoke { name: "ur".to_owned(), key: "u/".into(), range_end: "u0".into() });
    house.store.apply(by_root(Op::put("u/7", "hidden"), auth.revision() + 1)).result.unwrap();
    let end = soon(watched.message()).await.unwrap().unwrap();
    assert!(end.canceled && end.events.is_empty());
    assert_eq!(end.cancel_reason, denied);
}

#[tokio::test]
async fn leases_members_and_upkeep_ask_for_a_user() {
    let house = guarded().await;
    let (u, root) = (log_in(&house, "u", "p").await.unwrap(), log_in(&house, ROOT, "r").await.unwrap());
    let channel = channel(&house).await;
    let mut leases = LeaseClient::new(channel.clone());
    let denied = || refusal(Code::PermissionDenied, "permission denied");
    let empty = || refusal(Code::InvalidArgument, "user name is empty");
    let grant = |id| pb::LeaseGrantRequest { ttl: 60, id };
    assert_eq!(told(soon(leases.lease_grant(with("", grant(7)))).await), empty());
    assert_eq!(told(soon(leases.lease_grant(with(&u, grant(7)))).await), None);
    assert_eq!(told(soon(leases.lease_grant(with(&u, grant(8)))).await), None);
    let mut kv = KvClient::new(channel.clone());
    let on = |lease, key| pb::PutRequest { lease, ..put(key) };
    soon(kv.put(with(&root, on(7, "x")))).await.unwrap();
    soon(kv.put(with(&u, on(8, "u/8")))).await.unwrap();
    assert_eq!(told(soon(kv.put(with(&u, on(7, "u/7")))).await), denied());
    let ttl = |id, keys| pb::LeaseTimeToLiveRequest { id, keys };
    assert_eq!(told(soon(leases.lease_time_to_live(with(&u, ttl(7, true)))).await), denied());
    assert_eq!(told(soon(leases.lease_time_to_live(with(&u, ttl(7, false)))).await), None);
    assert_eq!(told(soon(leases.lease_time_to_live(with(&u, ttl(8, true)))).await), None);
    assert_eq!(told(soon(leases.lease_time_to_live(with("", ttl(8, true)))).await), empty());
    let revoke = |id| pb::LeaseRevokeRequest { id };
    assert_eq!(told(soon(leases.lease_revoke(with(&u, revoke(7)))).await), denied());
    assert_eq!(told(soon(leases.lease_revoke(with(&u, revoke(8)))).await), None);
    assert_eq!(told(soon(leases.lease_leases(with("", pb::LeaseLeasesRequest {}))).await), empty());
    let alive = || futures_util::stream::iter([pb::LeaseKeepAliveRequest { id: 7 }]);
    assert_eq!(told(soon(leases.lease_keep_alive(with("", alive()))).await), empty());
    assert_eq!(told(soon(leases.lease_keep_alive(with(&u, alive()))).await), None);

    let mut care = MaintenanceClient::new(channel.clone());
    let mut cluster = ClusterClient::new(channel);
    let list = pb::MemberListRequest::default();
    let disarm = pb::AlarmRequest { action: 2, ..Default::default() };
    for (token, reads, changes) in [("", empty(), empty()), (u.as_str(), None, denied())] {
        assert_eq!(told(soon(cluster.member_list(with(token, list))).await), reads);
        assert_eq!(told(soon(care.status(with(token, pb::StatusRequest {}))).await), reads);
        assert_eq!(told(soon(care.alarm(with(token, pb::AlarmRequest::default()))).await), reads);
        assert_eq!(told(soon(care.alarm(with(token, disarm))).await), changes);
        assert_eq!(told(soon(care.hash(with(token, pb::HashRequest {}))).await), changes);
        assert_eq!(told(soon(care.hash_kv(with(token, pb::HashKvRequest::default()))).await), changes);
        assert_eq!(told(soon(care.defragment(with(token, pb::DefragmentRequest {}))).await), changes);
        assert_eq!(told(soon(care.snapshot(with(token, pb::SnapshotRequest {}))).await), changes);
        assert_eq!(told(soon(care.move_leader(with(token, pb::MoveLeaderRequest::default()))).await), changes);
        let remove = pb::MemberRemoveRequest { id: 1 };
        assert_eq!(told(soon(cluster.member_remove(with(token, remove))).await), changes);
    }
    assert_eq!(told(soon(care.hash(with(&root, pb::HashRequest {}))).await), None);
    let remove = pb::MemberRemoveRequest { id: 1 };
    let by_root = told(soon(cluster.member_remove(with(&root, remove))).await);
    assert!(by_root != denied() && by_root != empty());
}

#[tokio::test]
async fn locks_and_elections_are_keys_too() {
    let house = guarded().await;
    let u = log_in(&house, "u", "p").await.unwrap();
    let channel = channel(&house).await;
    let mut locks = lock::lock_client::LockClient::new(channel.clone());
    let mut elections = election::election_client::ElectionClient::new(channel);
    let denied = || refusal(Code::PermissionDenied, "permission denied");
    let empty = || refusal(Code::InvalidArgument, "user name is empty");
    let named = |name: &'static str| lock::LockRequest { name: name.into(), lease: 0 };
    assert_eq!(told(soon(locks.lock(with(&u, named("x")))).await), denied());
    assert_eq!(told(soon(locks.lock(with("", named("u/l")))).await), empty());
    let key = soon(locks.lock(with(&u, named("u/l")))).await.unwrap().into_inner().key;
    let unlock = || lock::UnlockRequest { key: key.clone() };
    assert_eq!(told(soon(locks.unlock(with("", unlock()))).await), empty());
    assert_eq!(told(soon(locks.unlock(with(&u, unlock()))).await), None);
    // The lease of the lock that was refused did not stay.
    assert_eq!(house.store.leases().await.unwrap().len(), 1);
    let campaign = |name: &'static str| election::CampaignRequest { name: name.into(), lease: 0, value: "v".into() };
    assert_eq!(told(soon(elections.campaign(with(&u, campaign("x")))).await), denied());
    assert_eq!(told(soon(elections.campaign(with(&u, campaign("u/e")))).await), None);
    let leader = |name: &'static str| election::LeaderRequest { name: name.into() };
    assert_eq!(told(soon(elections.leader(with(&u, leader("u/e")))).await), None);
    assert_eq!(told(soon(elections.leader(with(&u, leader("x")))).await), denied());
    let mut observed = soon(elections.observe(with(&u, leader("u/e")))).await.unwrap().into_inner();
    assert_eq!(soon(observed.message()).await.unwrap().unwrap().kv.unwrap().value, "v");
    let mut observed = soon(elections.observe(with("", leader("u/e")))).await.unwrap().into_inner();
    assert_eq!(told(soon(observed.message()).await), empty());
}

/// A request with one more header: the status and the answer.
async fn ask(house: &House, method: &str, target: &str, body: &str, authorization: &str) -> (u16, String) {
    use tokio::io::AsyncWriteExt;
    let mut talk = crate::api::test_store::Talk::to(house.address).await;
    let header = match authorization {
        "" => String::new(),
        value => format!("Authorization: {value}\r\n"),
    };
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{header}\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    soon(talk.stream.write_all(request.as_bytes())).await.unwrap();
    let answer = talk.rest().await;
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

#[tokio::test]
async fn the_gateway_takes_the_token_from_its_header() {
    let house = guarded().await;
    let (status, answer) = ask(&house, "POST", "/v3/auth/authenticate", r#"{"name":"u","password":"p"}"#, "").await;
    assert_eq!(status, 200, "{answer}");
    let token = answer.split(r#""token":""#).nth(1).unwrap().split('"').next().unwrap();
    let bearer = format!("Bearer {token}");
    let cases = [
        ("/v3/kv/range", r#"{"key":"cg=="}"#, token, 200, r#""value":"b2xk""#),
        ("/v3beta/kv/range", r#"{"key":"cg=="}"#, bearer.as_str(), 200, r#""value":"b2xk""#),
        ("/v3/kv/range", r#"{"key":"eA=="}"#, token, 403, r#""message":"etcdserver: permission denied","code":7}"#),
        ("/v3/kv/range", r#"{"key":"cg=="}"#, "", 400, r#""message":"etcdserver: user name is empty","code":3}"#),
        ("/v3/kv/range", r#"{"key":"cg=="}"#, "bad", 401, r#""message":"etcdserver: invalid auth token","code":16}"#),
        ("/v3/kv/put", r#"{"key":"dw==","value":"MQ=="}"#, token, 200, r#""revision":"#),
        ("/v3/maintenance/snapshot", "{}", token, 403, r#""message":"etcdserver: permission denied""#),
        ("/v3/lease/keepalive", r#"{"ID":"5"}"#, "", 400, r#""message":"etcdserver: user name is empty""#),
        ("/v3/auth/user/get", r#"{"name":"u"}"#, token, 200, r#""roles":["ur"]}"#),
        (
            "/v3/auth/role/get",
            r#"{"role":"ur"}"#,
            token,
            200,
            r#"{"permType":"READWRITE","key":"L3Uv","range_end":"L3Uw"}"#,
        ),
        ("/v3/auth/user/list", "{}", token, 403, r#""code":7}"#),
        ("/v3/auth/status", "{}", token, 403, r#""code":7}"#),
        ("/v3/auth/disable", "{}", "", 400, r#""code":3}"#),
    ];
    for (target, body, authorization, expected, part) in cases {
        let (status, answer) = ask(&house, "POST", target, body, authorization).await;
        assert_eq!(status, expected, "{target} {body}: {answer}");
        assert!(answer.contains(part), "{target} {body}: {answer}");
    }
}

fn basic(user: &str, password: &str) -> String {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {pair}")
}

#[tokio::test]
async fn the_v2_dialect_asks_for_a_name_and_a_password() {
    let house = guarded().await;
    let (u, root, wrong) = (basic("u", "p"), basic(ROOT, "r"), basic("u", "x"));
    let refused = r#"{"errorCode":110,"message":"The request requires user authentication","cause":"Insufficient credentials","index":0}"#;
    let cases = [
        ("GET", "/v2/keys/u/1", "", "", 401, refused),
        ("GET", "/v2/keys/u/1", "", wrong.as_str(), 401, refused),
        ("GET", "/v2/keys/u/1", "", "Bearer x", 401, refused),
        ("GET", "/v2/keys/u/1", "", &u, 200, r#""value":"old""#),
        ("GET", "/v2/keys/u/1?quorum=true", "", &u, 200, r#""value":"old""#),
        ("GET", "/v2/keys/u", "", &u, 200, r#""dir":true"#),
        ("GET", "/v2/keys/u?recursive=true", "", &u, 200, r#""value":"old""#),
        ("GET", "/v2/keys/u/none", "", &u, 404, r#""errorCode":100"#),
        ("GET", "/v2/keys/x", "", &u, 401, refused),
        ("GET", "/v2/keys/x/1", "", &u, 401, refused),
        ("GET", "/v2/keys/x/none", "", &u, 401, refused),
        ("GET", "/v2/keys/?recursive=true", "", &u, 401, refused),
        ("GET", "/v2/keys/?recursive=true", "", &root, 200, r#""/x/1""#),
        ("GET", "/v2/keys/x/1?wait=true", "", &u, 401, refused),
        ("GET", "/v2/keys/?wait=true&recursive=true", "", &u, 401, refused),
        ("PUT", "/v2/keys/u/1", "value=new", &u, 200, r#""prevNode":{"key":"/u/1","value":"old""#),
        ("PUT", "/v2/keys/u/1", "value=new", "", 401, refused),
        ("PUT", "/v2/keys/x/1", "value=new", &u, 401, refused),
        ("POST", "/v2/keys/u", "value=new", &u, 201, r#""action":"create""#),
        ("POST", "/v2/keys/x", "value=new", &u, 401, refused),
        ("PUT", "/v2/keys/u/1", "value=newer&prevValue=new", &u, 200, r#""action":"compareAndSwap""#),
        ("DELETE", "/v2/keys/u/1", "", &u, 200, r#""action":"delete""#),
        ("DELETE", "/v2/keys/x?recursive=true", "", &u, 401, refused),
        ("DELETE", "/v2/keys/u?recursive=true", "", &u, 200, r#""action":"delete""#),
        ("DELETE", "/v2/keys/x?recursive=true", "", &root, 200, r#""action":"delete""#),
        ("POST", "/v2/members", "{}", &u, 401, r#"{"message":"Insufficient credentials"}"#),
        ("POST", "/v2/members", "{}", "", 401, r#"{"message":"Insufficient credentials"}"#),
    ];
    for (method, target, body, authorization, expected, part) in cases {
        let (status, answer) = ask(&house, method, target, body, authorization).await;
        assert_eq!(status, expected, "{method} {target} {body}: {answer}");
        assert!(answer.contains(part), "{method} {target} {body}: {answer}");
    }
    assert_eq!(ask(&house, "GET", "/v2/members", "", "").await.0, 200);
}

#[tokio::test]
async fn who_may_only_write_is_not_shown_what_was_there() {
    let house = guarded().await;
    change(&house, grant("ur", Access::Write, "/x/1", ""));
    let (status, answer) = ask(&house, "PUT", "/v2/keys/x/1", "value=new", &basic("u", "p")).await;
    assert!(status == 200 && answer.contains(r#""value":"new""#) && !answer.contains("old"), "{answer}");
    let (status, _) = ask(&house, "PUT", "/v2/keys/x/1", "value=2&prevValue=guess", &basic("u", "p")).await;
    assert_eq!(status, 401);
}
