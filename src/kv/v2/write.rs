//! Writes of the v2 view: etcd v2's checks in etcd v2's order, then changes of keys under one index.

use bytes::Bytes;

use super::directories::{self, Shown};
use super::view::{KEY_NOT_FOUND, Miss, NOT_A_DIRECTORY, Place, View, marker};
use super::{Condition, Failure, Outcome, Write, WriteRequest, watch};
use crate::base::LeaseId;
use crate::base::limits::LEASE_TTL_SECONDS_MAX;
use crate::kv::layout::{self, LeaseRecord};
use crate::kv::lease;
use crate::kv::stop::Stop;
use crate::kv::tables::TablesError;
use crate::kv::types::{KeyValue, Lease, Space, V2Action, V2Note};
use crate::kv::writer::{NewValue, Origin, Writer};

const COMPARE_FAILED: u16 = 101;
const NOT_A_FILE: u16 = 102;
const KEY_EXISTS: u16 = 105;
const ROOT_IS_READ_ONLY: u16 = 107;
const DIRECTORY_NOT_EMPTY: u16 = 108;
const INVALID_FIELD: u16 = 209;

/// Why a write stopped.
enum Halt {
    /// etcd's error code and cause.
    Refused(u16, String),
    Failed(TablesError),
}

impl From<TablesError> for Halt {
    fn from(error: TablesError) -> Self {
        Self::Failed(error)
    }
}

impl From<Miss> for Halt {
    fn from(miss: Miss) -> Self {
        Self::Refused(miss.code, miss.cause)
    }
}

/// Carries out a v2 write. A refusal is an outcome, not an error, and changes nothing.
pub(in crate::kv) fn run(writer: &mut Writer<'_>, request: &WriteRequest) -> Result<Outcome, Stop> {
    match write(writer, request) {
        Ok(()) => watch::answer(&writer.events)
            .map(Ok)
            .ok_or_else(|| Stop::Failed(TablesError(format!("a v2 write of {} left no event", request.path)))),
        Err(Halt::Refused(code, cause)) => Ok(Err(Failure { code, cause, index: writer.state.marks.v2_index })),
        Err(Halt::Failed(error)) => Err(Stop::Failed(error)),
    }
}

fn write(writer: &mut Writer<'_>, request: &WriteRequest) -> Result<(), Halt> {
    let path = request.path.as_str();
    let compare_and_delete = matches!(request.write, Write::CompareAndDelete { .. });
    let in_order = matches!(request.write, Write::CreateInOrder { .. });
    if path == "/" && !compare_and_delete && !in_order {
        return Err(Halt::Refused(ROOT_IS_READ_ONLY, "/".to_owned()));
    }
    if path != "/" && !directories::is_path(path) {
        return Err(Halt::Refused(INVALID_FIELD, path.to_owned()));
    }
    let ttl = request.ttl_seconds;
    match &request.write {
        Write::Set { value, dir, refresh } => set(writer, path, (!dir).then_some(value), *refresh, ttl),
        Write::Create { value, dir } => create(writer, path, (!dir).then_some(value), ttl),
        Write::CreateInOrder { value, dir } => {
            let index = writer.state.marks.v2_index + 1;
            let path = format!("{}/{index:020}", path.trim_end_matches('/'));
            create(writer, &path, (!dir).then_some(value), ttl)
        }
        Write::Update { value, refresh, .. } => update(writer, path, value, *refresh, ttl),
        Write::CompareAndSwap { value, condition, refresh } => {
            compare_and_swap(writer, path, value, condition, *refresh, ttl)
        }
        Write::Delete { recursive, dir } => delete(writer, path, *recursive, *dir),
        Write::CompareAndDelete { condition } => {
            let old = compared(writer, path, condition)?;
            remove_file(writer, path, &old, V2Action::CompareAndDelete)?;
            Ok(())
        }
    }
}

/// What is at a path now.
fn locate(writer: &Writer<'_>, path: &str) -> Result<Result<Place, Miss>, TablesError> {
    let view = View { tables: &*writer.tables, now: writer.stamp };
    view.locate(path)
}

/// `value` is `None` for a directory.
fn set(
    writer: &mut Writer<'_>,
    path: &str,
    value: Option<&String>,
    refresh: bool,
    ttl: Option<u64>,
) -> Result<(), Halt> {
    let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
    match locate(writer, path)? {
        Ok(Place::Directory(..)) => Err(Halt::Refused(NOT_A_FILE, path.to_owned())),
        Ok(Place::File(old, _)) => {
            let value = if refresh { value.map(|_| old.value.clone()) } else { value };
            make(writer, path, value, Some(&old), refresh, ttl, V2Action::Set)
        }
        Err(miss) if miss.code == KEY_NOT_FOUND && !refresh => {
            make(writer, path, value, None, false, ttl, V2Action::Set)
        }
        Err(miss) => Err(miss.into()),
    }
}

fn create(writer: &mut Writer<'_>, path: &str, value: Option<&String>, ttl: Option<u64>) -> Result<(), Halt> {
    if !directories::is_path(path) {
        return Err(Halt::Refused(INVALID_FIELD, path.to_owned()));
    }
    match locate(writer, path)? {
        Ok(_) => Err(Halt::Refused(KEY_EXISTS, path.to_owned())),
        Err(miss) if miss.code == NOT_A_DIRECTORY => Err(miss.into()),
        Err(_) => {
            let value = value.map(|value| Bytes::copy_from_slice(value.as_bytes()));
            make(writer, path, value, None, false, ttl, V2Action::Create)
        }
    }
}

/// Makes a file or a directory where there is nothing, or `old`, a file.
fn make(
    writer: &mut Writer<'_>,
    path: &str,
    value: Option<Bytes>,
    old: Option<&KeyValue>,
    silent: bool,
    ttl: Option<u64>,
    action: V2Action,
) -> Result<(), Halt> {
    let mut note = note(writer, path, action);
    note.silent = silent;
    note.prev_expiration = old.and_then(|old| writer.expiration(old.lease));
    match value {
        Some(value) => {
            put(writer, path.as_bytes(), value, ttl, &mut note, false)?;
        }
        None => {
            note.dir = true;
            note.created = note.index;
            put(writer, &marker(path), Bytes::new(), ttl, &mut note, false)?;
            if old.is_some() {
                let key = Bytes::copy_from_slice(path.as_bytes());
                writer.delete(Space::User, &key, Origin::V2(&note))?;
            }
        }
    }
    Ok(())
}

/// `refresh` keeps the value. Of a directory only the time to live changes.
fn update(writer: &mut Writer<'_>, path: &str, value: &str, refresh: bool, ttl: Option<u64>) -> Result<(), Halt> {
    match locate(writer, path)?? {
        Place::Directory(..) if !value.is_empty() => Err(Halt::Refused(NOT_A_FILE, path.to_owned())),
        Place::Directory(directory, expiration) => {
            let mut note = note(writer, path, V2Action::Update);
            note.dir = true;
            note.created = directory.created;
            note.prev_expiration = expiration;
            note.silent = refresh;
            put(writer, &marker(path), Bytes::new(), ttl, &mut note, true)?;
            Ok(())
        }
        Place::File(old, _) => {
            let action = V2Action::Update;
            change(writer, path, &old, value, refresh, ttl, action)
        }
    }
}

fn compare_and_swap(
    writer: &mut Writer<'_>,
    path: &str,
    value: &str,
    condition: &Condition,
    refresh: bool,
    ttl: Option<u64>,
) -> Result<(), Halt> {
    let old = compared(writer, path, condition)?;
    let action = V2Action::CompareAndSwap;
    change(writer, path, &old, value, refresh, ttl, action)
}

/// Gives a file another value or, with `refresh`, another time to live.
fn change(
    writer: &mut Writer<'_>,
    path: &str,
    old: &KeyValue,
    value: &str,
    refresh: bool,
    ttl: Option<u64>,
    action: V2Action,
) -> Result<(), Halt> {
    let mut note = note(writer, path, action);
    note.prev_expiration = writer.expiration(old.lease);
    note.silent = refresh;
    let value = if refresh { old.value.clone() } else { Bytes::copy_from_slice(value.as_bytes()) };
    put(writer, path.as_bytes(), value, ttl, &mut note, true)?;
    Ok(())
}

fn delete(writer: &mut Writer<'_>, path: &str, recursive: bool, dir: bool) -> Result<(), Halt> {
    match locate(writer, path)?? {
        Place::File(old, _) => remove_file(writer, path, &old, V2Action::Delete)?,
        Place::Directory(..) if !dir && !recursive => {
            return Err(Halt::Refused(NOT_A_FILE, path.to_owned()));
        }
        Place::Directory(directory, _) if directory.children > 0 && !recursive => {
            return Err(Halt::Refused(DIRECTORY_NOT_EMPTY, path.to_owned()));
        }
        place @ Place::Directory(..) => {
            remove_directory(writer, path, &place, V2Action::Delete)?;
        }
    }
    Ok(())
}

/// The file at `path`, if the condition holds of it.
fn compared(writer: &Writer<'_>, path: &str, condition: &Condition) -> Result<KeyValue, Halt> {
    let Place::File(kv, _) = locate(writer, path)?? else {
        // etcd leaves the root without a name here.
        return Err(Halt::Refused(NOT_A_FILE, if path == "/" { String::new() } else { path.to_owned() }));
    };
    let mut causes = Vec::new();
    if let Some(value) = &condition.prev_value
        && !value.is_empty()
        && value.as_bytes() != kv.value
    {
        let present = String::from_utf8_lossy(&kv.value);
        causes.push(format!("[{value} != {present}]"));
    }
    let index = condition.prev_index;
    if index != 0 && index != kv.v2_modified {
        causes.push(format!("[{index} != {}]", kv.v2_modified));
    }
    if causes.is_empty() { Ok(kv) } else { Err(Halt::Refused(COMPARE_FAILED, causes.join(" "))) }
}

/// The note of a write of `path`, with an index of its own.
fn note(writer: &mut Writer<'_>, path: &str, action: V2Action) -> V2Note {
    V2Note {
        action,
        index: writer.take_index(),
        path: Bytes::copy_from_slice(path.as_bytes()),
        dir: false,
        silent: false,
        created: 0,
        expiration: None,
        prev_expiration: None,
    }
}

/// Puts a key on a lease of its own if it is to end.
fn put(
    writer: &mut Writer<'_>,
    key: &[u8],
    value: Bytes,
    ttl: Option<u64>,
    note: &mut V2Note,
    keep_created: bool,
) -> Result<(), TablesError> {
    let mut lease = LeaseId::NONE;
    if let Some(seconds) = ttl {
        lease = lease::v2_lease(note.index);
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        let ttl_ms = seconds.min(LEASE_TTL_SECONDS_MAX) * 1000;
        let record =
            LeaseRecord { lease: Lease { id: lease, ttl_ms }, ends: Some(writer.stamp.plus_ms(ttl_ms)), left_ms: None };
        lease::add(writer.state, writer.tables, record)?;
        note.expiration = writer.expiration(lease);
    }
    let new = NewValue { space: Space::User, key: Bytes::copy_from_slice(key), value, lease, keep_created };
    writer.put(new, Origin::V2(note))?;
    Ok(())
}

fn remove_file(writer: &mut Writer<'_>, path: &str, old: &KeyValue, action: V2Action) -> Result<(), TablesError> {
    let mut note = note(writer, path, action);
    note.prev_expiration = writer.expiration(old.lease);
    keep_parent(writer, path, 1, &note)?;
    let key = Bytes::copy_from_slice(path.as_bytes());
    writer.delete(Space::User, &key, Origin::V2(&note))?;
    Ok(())
}

/// Removes a directory and all that the view shows below it, and a key of the same name, which would come into view.
fn remove_directory(writer: &mut Writer<'_>, path: &str, place: &Place, action: V2Action) -> Result<(), TablesError> {
    let mut note = note(writer, path, action);
    note.dir = true;
    if let Place::Directory(directory, expiration) = place {
        note.created = directory.created;
        note.prev_expiration = *expiration;
    }
    let view = View { tables: &*writer.tables, now: writer.stamp };
    let mut keys = view.keys_below(path)?;
    let shadowed = layout::head(writer.tables, Space::User, path.as_bytes())?;
    let shadowed = shadowed.is_some_and(|head| head.live());
    if shadowed {
        keys.push(Bytes::copy_from_slice(path.as_bytes()));
    }
    keep_parent(writer, path, 1 + u64::from(shadowed), &note)?;
    for key in keys {
        writer.delete(Space::User, &key, Origin::V2(&note))?;
    }
    Ok(())
}

/// v2's directories outlive what is in them: marks the one that `path` lies in if it is about to lose its last `leaving` children.
fn keep_parent(writer: &mut Writer<'_>, path: &str, leaving: u64, note: &V2Note) -> Result<(), TablesError> {
    let parent = directories::parent(path);
    if parent.is_empty() {
        return Ok(());
    }
    let directory = directories::get(writer.tables, parent.as_bytes())?.unwrap_or_default();
    if directory.marker || directory.children > leaving {
        return Ok(());
    }
    let new = NewValue {
        space: Space::User,
        key: Bytes::from(marker(parent)),
        value: Bytes::new(),
        lease: LeaseId::NONE,
        keep_created: false,
    };
    writer.put(new, Origin::V2(note))?;
    Ok(())
}

/// Removes a key whose v2 lease ends, and with a directory's marker all that is in the directory.
pub(in crate::kv) fn remove_leased(writer: &mut Writer<'_>, key: &Bytes, action: V2Action) -> Result<(), TablesError> {
    let path = match directories::shown(key) {
        Shown::File(path) | Shown::Marker(path) => path,
        Shown::Outside => "",
    };
    let marks = key.ends_with(b"/");
    match locate(writer, path)? {
        Ok(Place::File(old, _)) if !marks => remove_file(writer, path, &old, action),
        Ok(place @ Place::Directory(..)) if marks => remove_directory(writer, path, &place, action),
        // Not in the view, or hidden by a directory of the same name.
        _ => writer.delete(Space::User, key, Origin::V3(action)).map(drop),
    }
}
