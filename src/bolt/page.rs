//! Pages: their headers and elements, and the two pages that begin a file.

use super::BoltError;

pub(super) const HEADER_BYTES: usize = 16;
pub(super) const ELEMENT_BYTES: usize = 16;
/// A bucket's root page and sequence, before its own page if that is within the value.
pub(super) const BUCKET_BYTES: usize = 16;
/// Header and content of a meta page.
pub(super) const META_BYTES: usize = HEADER_BYTES + 64;

pub(super) const BRANCH: u16 = 0x01;
pub(super) const LEAF: u16 = 0x02;
pub(super) const META: u16 = 0x04;
pub(super) const FREELIST: u16 = 0x10;
/// Flag of a leaf's element whose value is a bucket.
pub(super) const IS_BUCKET: u32 = 0x01;

pub(super) const MAGIC: u32 = 0xED0C_DAED;
pub(super) const VERSION: u32 = 2;
/// Sizes of pages that bbolt makes.
pub(super) const PAGE_BYTES_MIN: u32 = 512;
pub(super) const PAGE_BYTES_MAX: u32 = 64 << 10;
/// The size that bbolt takes on nearly every machine.
pub(super) const PAGE_BYTES: u32 = 4096;

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// The head of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub id: u64,
    pub kind: u16,
    pub count: u16,
    /// Pages that belong to this one besides itself.
    pub overflow: u32,
}

impl Header {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            id: u64_at(bytes, 0)?,
            kind: u16_at(bytes, 8)?,
            count: u16_at(bytes, 10)?,
            overflow: u32_at(bytes, 12)?,
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.kind.to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.overflow.to_le_bytes());
    }
}

/// What a meta page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub page_bytes: u32,
    /// Page of the root bucket.
    pub root: u64,
    pub freelist: u64,
    /// Pages from this one on are not in use.
    pub end: u64,
    pub txid: u64,
}

impl Meta {
    /// Reads a meta page; `None` where it is none, or damaged.
    pub(super) fn read(page: &[u8]) -> Option<Self> {
        let header = Header::read(page)?;
        let body = page.get(HEADER_BYTES..META_BYTES)?;
        let right = header.kind & META != 0
            && u32_at(body, 0)? == MAGIC
            && u32_at(body, 4)? == VERSION
            && u64_at(body, 56)? == checksum(&body[..56]);
        let meta = Self {
            page_bytes: u32_at(body, 8)?,
            root: u64_at(body, 16)?,
            freelist: u64_at(body, 32)?,
            end: u64_at(body, 40)?,
            txid: u64_at(body, 48)?,
        };
        let size = (PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&meta.page_bytes) && meta.page_bytes.is_power_of_two();
        (right && size).then_some(meta)
    }

    /// The page with this number, 0 or 1.
    pub(super) fn page(&self, id: u64) -> Vec<u8> {
        let mut page = Vec::with_capacity(self.page_bytes as usize);
        Header { id, kind: META, count: 0, overflow: 0 }.write(&mut page);
        page.extend_from_slice(&MAGIC.to_le_bytes());
        page.extend_from_slice(&VERSION.to_le_bytes());
        page.extend_from_slice(&self.page_bytes.to_le_bytes());
        page.extend_from_slice(&0u32.to_le_bytes());
        for number in [self.root, 0, self.freelist, self.end, self.txid] {
            page.extend_from_slice(&number.to_le_bytes());
        }
        let sum = checksum(&page[HEADER_BYTES..]);
        page.extend_from_slice(&sum.to_le_bytes());
        page.resize(self.page_bytes as usize, 0);
        page
    }
}

/// FNV-1a of 64 bits.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What a page holds at one place.
pub(super) enum Element<'a> {
    Branch { page: u64 },
    Leaf { key: &'a [u8], value: &'a [u8], bucket: bool },
}

/// The element number `at` of a page, whose header has been read from it.
pub(super) fn element<'a>(page: &'a [u8], header: &Header, at: u16) -> Result<Element<'a>, BoltError> {
    let start = HEADER_BYTES + usize::from(at) * ELEMENT_BYTES;
    let beyond = || BoltError::damaged(header.id, format!("element {at} of {} lies beyond the page", header.count));
    let within = |offset: u32, size: usize| {
        let from = start.checked_add(offset as usize)?;
        page.get(from..from.checked_add(size)?)
    };
    let number = |offset: usize| u32_at(page, start + offset).ok_or_else(beyond);
    if header.kind & BRANCH != 0 {
        let (offset, size) = (number(0)?, number(4)?);
        within(offset, size as usize).ok_or_else(beyond)?;
        return Ok(Element::Branch { page: u64_at(page, start + 8).ok_or_else(beyond)? });
    }
    let (flags, offset, key_size, value_size) = (number(0)?, number(4)?, number(8)? as usize, number(12)? as usize);
    let both = key_size.checked_add(value_size).and_then(|size| within(offset, size)).ok_or_else(beyond)?;
    let (key, value) = both.split_at(key_size);
    Ok(Element::Leaf { key, value, bucket: flags & IS_BUCKET != 0 })
}
