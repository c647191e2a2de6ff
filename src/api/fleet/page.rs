//! Pages of lists and the tokens that lead from one to the next, as fleet makes them.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::failure::Failure;
use super::query::Query;
use crate::base::limits::FLEET_PAGE_ITEMS;

const TOKEN: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// Which page is asked for, counted from 1.
///
/// # Errors
/// A token that fleet did not make; the texts are fleet's.
pub(super) fn asked(query: &Query) -> Result<u16, Failure> {
    let mut tokens = query.values("nextPageToken");
    match (tokens.next(), tokens.next()) {
        (None, _) => Ok(1),
        (Some(token), None) => decode(token).map_err(Failure::Bad),
        (Some(_), Some(_)) => Err(Failure::Bad("too many values for page token".to_owned())),
    }
}

/// The items of a page and the token of the next; a full page always has one, though nothing may come after it.
pub(super) fn cut<T>(all: impl ExactSizeIterator<Item = T>, page: u16) -> (Vec<T>, String) {
    let limit = usize::from(FLEET_PAGE_ITEMS);
    let (from, to) = (limit * (usize::from(page) - 1), limit * usize::from(page));
    let next = if to <= all.len() { page.checked_add(1).map(encode).unwrap_or_default() } else { String::new() };
    (all.skip(from).take(limit).collect(), next)
}

fn encode(page: u16) -> String {
    let mut token = FLEET_PAGE_ITEMS.to_le_bytes().to_vec();
    token.extend(page.to_le_bytes());
    TOKEN.encode(token)
}

fn decode(token: &str) -> Result<u16, String> {
    let bytes = TOKEN.decode(token).map_err(|error| match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => {
            format!("illegal base64 data at input byte {at}")
        }
        base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => {
            format!("illegal base64 data at input byte {}", token.trim_end_matches('=').len() / 4 * 4)
        }
    })?;
    let (limit, page) = match *bytes.as_slice() {
        [] => return Err("EOF".to_owned()),
        [a, b, c, d, ..] => (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])),
        _ => return Err("unexpected EOF".to_owned()),
    };
    if limit != FLEET_PAGE_ITEMS {
        return Err(format!("token limit must be {FLEET_PAGE_ITEMS}"));
    }
    if page == 0 {
        return Err("token page must be greater than zero".to_owned());
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tokens_as_fleet_makes_them() {
        assert_eq!(encode(2), "ZAACAA==");
        let cases = [
            ("ZAACAA==", Ok(2)),
            ("EwBMLg==", Err("token limit must be 100")),
            ("ZAAAAA==", Err("token page must be greater than zero")),
            ("", Err("EOF")),
            ("ZAAC", Err("unexpected EOF")),
            ("*", Err("illegal base64 data at input byte 0")),
        ];
        for (token, expected) in cases {
            assert_eq!(decode(token), expected.map_err(str::to_owned), "{token}");
        }
        for page in [1, 7, u16::MAX] {
            assert_eq!(decode(&encode(page)), Ok(page));
        }
    }

    #[test]
    fn pages_are_cut_as_fleet_cuts_them() {
        let cases =
            [(0, 1, 0, false), (99, 1, 99, false), (100, 1, 100, true), (100, 2, 0, false), (250, 2, 100, true)];
        for (items, page, expected, more) in cases {
            let (cut, next) = cut(0..items, page);
            assert_eq!(cut.len(), expected, "{items} items, page {page}");
            assert_eq!(!next.is_empty(), more, "{items} items, page {page}");
        }
        assert_eq!(cut(0..250, 3), ((200..250).collect(), String::new()));
        assert_eq!(cut(0..10, u16::MAX), (Vec::new(), String::new()));
    }
}
