//! A token: all that a machine needs to find a cluster, to know it for the right one, and to be let in.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::record::hex;
use crate::base::UnixMillis;
use crate::base::limits::JOIN_TOKEN_BYTES_MAX;

/// Begins the text of every token; another form gets another number.
const FORM: &str = "node1.";

/// Passed on from a member to a machine that is to become one.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Client URLs of members, `https://host:port`.
    pub endpoints: Vec<String>,
    /// SHA-256 of the certificate of the authority that vouches for them.
    pub authority: [u8; 32],
    /// What the cluster knows it by; no secret.
    pub id: String,
    pub secret: [u8; 16],
    pub until: UnixMillis,
}

/// The text is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no token: {0}; copy all of what `node init` or `node ctl token create` printed")]
pub struct TokenError(&'static str);

impl Token {
    /// An id and a secret out of chance.
    pub fn drawn(endpoints: Vec<String>, authority: [u8; 32], until: UnixMillis, chance: [u64; 3]) -> Self {
        let mut secret = [0; 16];
        secret[..8].copy_from_slice(&chance[1].to_be_bytes());
        secret[8..].copy_from_slice(&chance[2].to_be_bytes());
        Self { endpoints, authority, id: format!("{:012x}", chance[0] >> 16), secret, until }
    }

    /// What the cluster keeps in place of the secret.
    pub fn digest(&self) -> String {
        hex(&Sha256::digest(self.secret))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = postcard::to_allocvec(self).map_err(|_| fmt::Error)?;
        write!(f, "{FORM}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// Without the secret.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "token {}", self.id)
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.len() > JOIN_TOKEN_BYTES_MAX {
            return Err(TokenError("it is too long"));
        }
        let coded = text.strip_prefix(FORM).ok_or(TokenError("it does not begin with `node1.`"))?;
        let bytes = URL_SAFE_NO_PAD.decode(coded).map_err(|_| TokenError("a character in it is wrong"))?;
        postcard::from_bytes(&bytes).map_err(|_| TokenError("a part of it is missing"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_comes_back_from_its_text() {
        let urls = vec!["https://10.0.0.1:2379".to_owned(), "https://[fd00::1]:2379".to_owned()];
        let token = Token::drawn(urls, [7; 32], UnixMillis(1_700_000_000_000), [u64::MAX, 2, 3]);
        let text = token.to_string();
        assert_eq!(text.parse::<Token>().unwrap(), token);
        assert_eq!(format!(" {text}\n").parse::<Token>().unwrap(), token);
        assert_eq!((token.id.as_str(), token.digest().len()), ("ffffffffffff", 64));
        assert!(!format!("{token:?}").contains(&hex(&token.secret)));
        let cases = [
            ("", "does not begin"),
            ("node2.AAAA", "does not begin"),
            ("node1.A*", "a character"),
            (&text[..text.len() - 8], "this is no token"),
            ("node1.", "missing"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<Token>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!("node1.".repeat(10_000).parse::<Token>().is_err());
    }
}
