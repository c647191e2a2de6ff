//! What the log says apart from its entries: vote, committed mark, purge, and which indices there are.
//!
//! The writer keeps one to check requests and to begin each segment with; recovery replays frames into one. Both
//! use the same transitions, so that a replay ends where the writer was.

use bytes::Bytes;

use super::Purged;
use super::frame::{le_u32, le_u64};

/// The log without its entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    pub vote: Option<Bytes>,
    pub committed: Option<Bytes>,
    pub purged: Option<Purged>,
    /// First index held and the next one to be appended. None: the log is empty and may begin anywhere.
    pub span: Option<(u64, u64)>,
}

impl State {
    /// The index that the next entry must have, when there is such a rule.
    pub fn expected(&self) -> Option<u64> {
        self.span.map(|(_, next)| next)
    }

    /// An entry was appended; its index was checked against `expected`.
    pub fn push(&mut self, index: u64) {
        let first = self.span.map_or(index, |(first, _)| first);
        self.span = Some((first, index.saturating_add(1)));
    }

    /// Whether the entries from `first_removed` on may go: what is purged cannot be cut a second time.
    pub fn may_truncate(&self, first_removed: u64) -> bool {
        match (&self.purged, self.span) {
            (Some(_), Some((first, _))) => first_removed >= first,
            _ => true,
        }
    }

    /// The entries from `first_removed` on are gone.
    pub fn truncate(&mut self, first_removed: u64) {
        let Some((first, next)) = self.span else {
            return;
        };
        self.span = if self.purged.is_none() && first_removed <= first {
            None
        } else {
            Some((first, next.min(first_removed.max(first))))
        };
    }

    /// Whether a purge up to `index` changes anything.
    pub fn purge_is_news(&self, index: u64) -> bool {
        self.purged.as_ref().is_none_or(|purged| index > purged.index)
    }

    /// The entries up to and with `purged.index` are gone, also those that this node never had.
    pub fn purge(&mut self, purged: Purged) {
        let begin = purged.index.saturating_add(1);
        let (first, next) = self.span.unwrap_or((begin, begin));
        self.span = Some((first.max(begin), next.max(begin)));
        self.purged = Some(purged);
    }

    /// The payload of a base frame.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        let (first, next) = self.span.unwrap_or_default();
        out.extend_from_slice(&u64::from(self.span.is_some()).to_le_bytes());
        out.extend_from_slice(&first.to_le_bytes());
        out.extend_from_slice(&next.to_le_bytes());
        let purged_index = self.purged.as_ref().map_or(0, |purged| purged.index);
        out.extend_from_slice(&purged_index.to_le_bytes());
        let id = self.purged.as_ref().map(|purged| &purged.id);
        for blob in [id, self.vote.as_ref(), self.committed.as_ref()] {
            out.push(u8::from(blob.is_some()));
            let bytes = blob.map_or(&[][..], |blob| blob);
            out.extend_from_slice(&super::frame::u32_of(bytes.len()).to_le_bytes());
            out.extend_from_slice(bytes);
        }
        out.into()
    }

    /// The state in the payload of a base frame; None when it is not one.
    pub fn decode(bytes: &[u8]) -> Option<State> {
        let mut rest = bytes.get(32..)?;
        let mut blobs = [const { None }; 3];
        for blob in &mut blobs {
            let length = le_u32(rest.get(1..5)?, 0) as usize;
            let payload = rest.get(5..5usize.checked_add(length)?)?;
            *blob = (rest[0] != 0).then(|| Bytes::copy_from_slice(payload));
            rest = &rest[5 + length..];
        }
        let [id, vote, committed] = blobs;
        let index = le_u64(bytes, 24);
        Some(State {
            vote,
            committed,
            purged: id.map(|id| Purged { index, id }),
            span: (le_u64(bytes, 0) != 0).then(|| (le_u64(bytes, 8), le_u64(bytes, 16))),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn purged(index: u64) -> Purged {
        Purged { index, id: Bytes::from_static(b"id") }
    }

    #[test]
    fn indices_follow_appends_truncations_and_purges() {
        let mut state = State::default();
        for index in 5..10 {
            assert!(state.expected().is_none_or(|expected| expected == index));
            state.push(index);
        }
        assert_eq!(state.span, Some((5, 10)));
        state.truncate(8);
        assert_eq!(state.span, Some((5, 8)));
        state.truncate(20);
        assert_eq!(state.span, Some((5, 8)));
        state.purge(purged(6));
        assert_eq!(state.span, Some((7, 8)));
        assert!(!state.may_truncate(6));
        assert!(state.may_truncate(7));
        assert!(!state.purge_is_news(6));
        state.truncate(7);
        assert_eq!(state.span, Some((7, 7)));
        state.purge(purged(100));
        assert_eq!(state.expected(), Some(101));
    }

    #[test]
    fn a_log_cut_to_nothing_may_begin_anywhere() {
        let mut state = State::default();
        state.push(1);
        state.truncate(0);
        assert_eq!(state, State::default());
    }

    proptest! {
        #[test]
        fn a_base_frame_carries_the_state(vote: Option<Vec<u8>>, committed: Option<Vec<u8>>, gone: Option<(u64, Vec<u8>)>, span: Option<(u64, u64)>) {
            let state = State {
                vote: vote.map(Bytes::from),
                committed: committed.map(Bytes::from),
                purged: gone.map(|(index, id)| Purged { index, id: id.into() }),
                span,
            };
            prop_assert_eq!(State::decode(&state.encode()), Some(state));
        }

        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            State::decode(&bytes);
        }
    }
}
