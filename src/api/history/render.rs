//! Values of the store as the JSON of this door.

use super::query::Token;
use crate::base::{LeaseId, UnixMillis};
use crate::kv::past::Next;
use crate::kv::{self, EventKind, KeyValue, Past, PastOf, V2Action};
use crate::wire::history as wire;

pub(super) fn page(past: &Past, of: PastOf) -> wire::Page {
    let token = |next: &Next| match next {
        Next::Key(key) => Token::Key { from: past.from.revision, to: past.to.revision, key: key.clone() },
        Next::Before(revision) => Token::Before(*revision),
    };
    let two = matches!(of, PastOf::Difference(..));
    wire::Page {
        at: place(&past.to),
        since: two.then(|| place(&past.from)),
        oldest: place(&past.oldest),
        changes: past.items.iter().map(|item| change(&item.change, item.before.as_ref())).collect(),
        next: past.next.as_ref().map(|next| token(next).to_string()),
    }
}

pub(super) fn place(place: &kv::Place) -> wire::Place {
    wire::Place { revision: place.revision, time: place.at.map(time) }
}

/// A change, with what the key was before it.
pub(super) fn change(event: &kv::Event, before: Option<&KeyValue>) -> wire::Change {
    let live = event.kind == EventKind::Put;
    let expired = event.v2.as_ref().is_some_and(|note| note.action == V2Action::Expire);
    let action = match event.kind {
        EventKind::Put if event.kv.version == 1 => "create",
        EventKind::Put => "put",
        EventKind::Delete if expired => "expire",
        EventKind::Delete => "delete",
    };
    let kv = &event.kv;
    wire::Change {
        revision: kv.mod_revision,
        time: event.made.as_ref().map(|made| time(made.at)),
        author: event.made.as_ref().and_then(|made| made.author.as_deref()).map(str::to_owned),
        action: action.to_owned(),
        key: (&kv.key[..]).into(),
        value: live.then(|| (&kv.value[..]).into()),
        version: kv.version,
        lease: (kv.lease != LeaseId::NONE).then(|| format!("{:x}", kv.lease.0)),
        before: before.map(|kv| wire::Before { revision: kv.mod_revision, value: (&kv.value[..]).into() }),
    }
}

/// A moment in RFC 3339, to the millisecond.
pub(in crate::api) fn time(at: UnixMillis) -> String {
    let end = if at.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    format!("{:.3}", jiff::Timestamp::from_millisecond(at.0).unwrap_or(end))
}
