//! How one authority follows another: `/trust/authority` → [`Succession`] as JSON.
//!
//! The new authority is made beside the old one, which vouches for it. Each member goes over by itself: it trusts both from then
//! on, and has a certificate of the new one. The old one's word goes with it, so that whoever has not gone over yet, or was away,
//! takes it too. When all have gone over and the time is up for which people keep their certificates of the old one, the old one
//! is trusted no more.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::certificates::Given;
use super::record;
use crate::base::{ClusterId, MemberId, UnixMillis};
use crate::kv::{KeyValue, RangeRequest, TxnRequest};

const KEY: &str = "/trust/authority";

/// An authority and the one before it. Certificates are PEM, hashes SHA-256 in hex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Succession {
    /// A copy of the state in another cluster says nothing of that one's authority.
    pub cluster: ClusterId,
    pub hash: String,
    pub certificate: String,
    pub former_hash: String,
    pub former: String,
    /// The former one's word for the new one.
    pub bridge: String,
    pub begun: UnixMillis,
    /// The former one is trusted until then at least.
    pub keep_former_until: UnixMillis,
    /// The former one is trusted no more.
    pub over: bool,
}

impl Succession {
    /// All that members trust while it stands so, PEM, that which signs first.
    pub fn trusted(&self) -> String {
        match self.over {
            true => self.certificate.clone(),
            false => format!("{}{}{}", self.certificate, self.bridge, self.former),
        }
    }

    /// The members that have no certificate of the new authority yet.
    pub fn missing(&self, members: &[MemberId], given: &[(Given, i64)]) -> Vec<MemberId> {
        let gone_over =
            |id: &MemberId| given.iter().any(|(given, _)| given.member == Some(*id) && given.authority == self.hash);
        members.iter().filter(|id| !gone_over(id)).copied().collect()
    }

    /// Whether the former one is to be trusted no more.
    pub fn is_due(&self, members: &[MemberId], given: &[(Given, i64)], now: UnixMillis) -> bool {
        !self.over && now >= self.keep_former_until && self.missing(members, given).is_empty()
    }

    /// Writes it over what was read at `mod_revision` (0: there was none).
    pub fn write(&self, mod_revision: i64) -> TxnRequest {
        record::put_over(Bytes::from_static(KEY.as_bytes()), self, mod_revision, Vec::new())
    }
}

/// Asks for it.
pub fn find() -> RangeRequest {
    record::one(Bytes::from_static(KEY.as_bytes()))
}

/// That of a cluster among what a range has found, with the revision of its last change; 0 where there is none.
pub fn read(found: &[KeyValue], cluster: ClusterId) -> (Option<Succession>, i64) {
    let (kept, revision) =
        record::read::<Succession>(KEY, found).pop().map_or((None, 0), |(kept, at)| (Some(kept), at));
    (kept.filter(|kept| kept.cluster == cluster), revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_former_authority_goes_when_all_have_gone_over_and_its_time_is_up() {
        let succession = Succession {
            cluster: ClusterId(7),
            hash: "new".to_owned(),
            certificate: "N".to_owned(),
            former_hash: "old".to_owned(),
            former: "F".to_owned(),
            bridge: "B".to_owned(),
            begun: UnixMillis(0),
            keep_former_until: UnixMillis(100),
            over: false,
        };
        let given = |member: u64, authority: &str, made: i64| {
            let (serial, name) = (format!("{member}{authority}"), String::new());
            let (member, authority, until) = (Some(MemberId(member)), authority.to_owned(), UnixMillis(1_000));
            (Given { serial, name, member, authority, made: UnixMillis(made), until, revoked: None }, 1)
        };
        let members = [MemberId(1), MemberId(2)];
        let one = [given(1, "old", 0), given(2, "old", 0), given(1, "new", 5)];
        let both = [&one[..], &[given(2, "new", 0)]].concat();
        assert_eq!(succession.missing(&members, &one), [MemberId(2)]);
        assert_eq!(succession.missing(&members, &[]), members);
        assert!(succession.missing(&members, &both).is_empty());
        let cases = [(&one[..], 200, false), (&both, 99, false), (&both, 100, true)];
        for (given, now, due) in cases {
            assert_eq!(succession.is_due(&members, given, UnixMillis(now)), due, "{now}");
        }
        assert_eq!(succession.trusted(), "NBF");
        let over = Succession { over: true, ..succession };
        assert_eq!((over.trusted().as_str(), over.is_due(&members, &both, UnixMillis(200))), ("N", false));
    }
}
