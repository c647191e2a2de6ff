//! The encodings of `write_files`: base64, gzip, and the one in the other.

use std::io::Read as _;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use flate2::read::MultiGzDecoder;

use crate::base::limits::CLOUD_CONFIG_BYTES_MAX;

/// How a gzip file begins.
pub const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A file's content out of its encoding; the empty encoding is none.
///
/// # Errors
/// Why it cannot be decoded.
pub fn decode(content: &str, encoding: &str) -> Result<Vec<u8>, String> {
    match encoding {
        "" => Ok(content.as_bytes().to_vec()),
        "b64" | "base64" => unbase64(content),
        "gz" | "gzip" => gunzip(&bytes_of(content)),
        "gz+base64" | "gzip+base64" | "gz+b64" | "gzip+b64" => gunzip(&unbase64(content)?),
        _ => Err("write base64, gzip or gzip+base64".to_owned()),
    }
}

/// Unpacks gzip.
///
/// # Errors
/// Damage, and more than a cloud-config may hold.
pub fn gunzip(packed: &[u8]) -> Result<Vec<u8>, String> {
    let mut unpacked = Vec::new();
    let most = CLOUD_CONFIG_BYTES_MAX as u64;
    let read = MultiGzDecoder::new(packed).take(most + 1).read_to_end(&mut unpacked);
    match read {
        Ok(_) if unpacked.len() as u64 <= most => Ok(unpacked),
        Ok(_) => Err(format!("gzip: more than {} MiB unpacked", most >> 20)),
        Err(error) => Err(format!("gzip: {error}")),
    }
}

fn unbase64(text: &str) -> Result<Vec<u8>, String> {
    let bare: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    BASE64.decode(bare).map_err(|error| format!("base64: {error}"))
}

/// Bytes that stand in YAML as `"\x1f\x8b…"` come as the characters of these numbers.
fn bytes_of(text: &str) -> Vec<u8> {
    let latin: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    latin.filter(|bytes| bytes.starts_with(&GZIP_MAGIC)).unwrap_or_else(|| text.as_bytes().to_vec())
}
