//! Reading: the newest state of a file, bucket by bucket, in the order of keys.

use std::ops::ControlFlow;

use super::page::{
    BRANCH, BUCKET_BYTES, Element, Header, LEAF, META_BYTES, Meta, PAGE_BYTES_MAX, PAGE_BYTES_MIN, element, u64_at,
};
use super::{BoltError, Source};
use crate::base::limits::{BOLT_DEPTH_MAX, BOLT_PAGE_RUN_BYTES_MAX};

/// A file that is open for reading. At any time a few of its pages are in memory.
pub struct Bolt<S> {
    source: S,
    meta: Meta,
}

/// A bucket's place. It holds no page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    root: u64,
    /// The page of a bucket that has no page of its own.
    inline: Option<Vec<u8>>,
}

/// What is called for each key of a bucket, with its value, or with the bucket that it names; `Break` ends the reading.
pub type Visit<'a, E> = dyn FnMut(&[u8], Content<'_>) -> Result<ControlFlow<()>, E> + 'a;

/// What a key has.
#[derive(Debug)]
pub enum Content<'a> {
    Value(&'a [u8]),
    Bucket(Bucket),
}

/// A reading of one bucket.
struct Walk<'a, 'v, E> {
    last: Option<Vec<u8>>,
    visit: &'a mut Visit<'v, E>,
}

impl<S: Source> Bolt<S> {
    /// Opens a file of so many bytes.
    ///
    /// # Errors
    /// Where neither of the two pages that begin it is right.
    pub fn open(source: S, bytes: u64) -> Result<Self, BoltError> {
        let read = |offset: u64| {
            let mut page = [0; META_BYTES];
            source.read_exact_at(&mut page, offset).ok()?;
            Meta::read(&page)
        };
        let first = read(0);
        // Where the second page begins depends on the size of pages, which a damaged first one does not tell.
        let sizes = match first {
            Some(meta) => meta.page_bytes..=meta.page_bytes,
            None => PAGE_BYTES_MIN..=PAGE_BYTES_MAX,
        };
        let mut second = None;
        let mut size = *sizes.start();
        while second.is_none() && size <= *sizes.end() {
            second = read(u64::from(size)).filter(|meta| meta.page_bytes == size);
            size *= 2;
        }
        let meta = [first, second].into_iter().flatten().max_by_key(|meta| meta.txid).ok_or(BoltError::Foreign)?;
        let needed = meta.end.checked_mul(u64::from(meta.page_bytes));
        if needed.is_none_or(|needed| needed > bytes) {
            return Err(BoltError::damaged(0, format!("the file is cut: it should have {} pages", meta.end)));
        }
        Ok(Self { source, meta })
    }

    /// Bytes of the pages in use, as `etcdctl snapshot status` tells the size.
    pub fn bytes(&self) -> u64 {
        self.meta.end * u64::from(self.meta.page_bytes)
    }

    /// The bucket that holds all others.
    pub fn root(&self) -> Bucket {
        Bucket { root: self.meta.root, inline: None }
    }

    /// The bucket with this name, if there is one.
    ///
    /// # Errors
    /// Damage on the way.
    pub fn bucket(&self, name: &[u8]) -> Result<Option<Bucket>, BoltError> {
        let mut found = None;
        self.visit(&self.root(), &mut |key, content| {
            if let Content::Bucket(bucket) = content
                && key == name
            {
                found = Some(bucket);
                return Ok(ControlFlow::Break(()));
            }
            Ok::<_, BoltError>(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// Visits what is in a bucket, in the order of keys.
    ///
    /// # Errors
    /// Damage, or what the visitor objects to.
    pub fn visit<E: From<BoltError>>(&self, bucket: &Bucket, visit: &mut Visit<'_, E>) -> Result<(), E> {
        let mut walk = Walk { last: None, visit };
        let flow = match &bucket.inline {
            Some(page) => {
                let header = header(page, bucket.root)?;
                if header.kind & LEAF == 0 {
                    return Err(BoltError::damaged(header.id, "a small bucket's page is no leaf").into());
                }
                walk.leaf(page, &header)?
            }
            None => self.page(&mut walk, bucket.root, 0)?,
        };
        let (ControlFlow::Continue(()) | ControlFlow::Break(())) = flow;
        Ok(())
    }

    fn page<E: From<BoltError>>(
        &self,
        walk: &mut Walk<'_, '_, E>,
        id: u64,
        depth: usize,
    ) -> Result<ControlFlow<()>, E> {
        if depth > BOLT_DEPTH_MAX {
            return Err(BoltError::damaged(id, "the pages lead in a circle").into());
        }
        let page = self.read(id)?;
        let header = header(&page, id)?;
        if header.count == 0 && depth > 0 {
            return Err(BoltError::damaged(id, "a page within a bucket is empty").into());
        }
        if header.kind & LEAF != 0 {
            return walk.leaf(&page, &header);
        }
        for at in 0..header.count {
            let Element::Branch { page: child } = element(&page, &header, at)? else { continue };
            if self.page(walk, child, depth + 1)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Reads a page with those that belong to it.
    fn read(&self, id: u64) -> Result<Vec<u8>, BoltError> {
        let size = u64::from(self.meta.page_bytes);
        if id < 2 || id >= self.meta.end {
            return Err(BoltError::damaged(id, format!("the file has no such page, it has {}", self.meta.end)));
        }
        // The file has `end` whole pages, whose bytes are a number.
        let mut page = vec![0; self.meta.page_bytes as usize];
        self.source.read_exact_at(&mut page, id * size)?;
        let header = Header::read(&page).ok_or_else(|| BoltError::damaged(id, "it has no head"))?;
        let pages = u64::from(header.overflow) + 1;
        let run = pages * size;
        if id + pages > self.meta.end || run > BOLT_PAGE_RUN_BYTES_MAX {
            return Err(BoltError::damaged(id, format!("it claims {pages} pages")));
        }
        if header.overflow > 0 {
            // Within the limit, so within memory.
            page.resize(run as usize, 0);
            self.source.read_exact_at(&mut page[size as usize..], (id + 1) * size)?;
        }
        Ok(page)
    }
}

/// The head of a page that holds elements and says that it is the one that was asked for.
fn header(page: &[u8], id: u64) -> Result<Header, BoltError> {
    let header = Header::read(page).ok_or_else(|| BoltError::damaged(id, "it has no head"))?;
    if header.id != id {
        return Err(BoltError::damaged(id, format!("it says that it is page {}", header.id)));
    }
    match header.kind {
        BRANCH | LEAF => Ok(header),
        kind => Err(BoltError::damaged(id, format!("it is of kind {kind:#x}, neither branch nor leaf"))),
    }
}

impl<E: From<BoltError>> Walk<'_, '_, E> {
    fn leaf(&mut self, page: &[u8], header: &Header) -> Result<ControlFlow<()>, E> {
        for at in 0..header.count {
            let Element::Leaf { key, value, bucket } = element(page, header, at)? else { continue };
            if self.last.as_deref().is_some_and(|last| last >= key) {
                return Err(BoltError::damaged(header.id, format!("key {at} is not behind the one before it")).into());
            }
            let content = match bucket {
                true => Content::Bucket(nested(value, header.id)?),
                false => Content::Value(value),
            };
            let last = self.last.get_or_insert_default();
            last.clear();
            last.extend_from_slice(key);
            if (self.visit)(key, content)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// The bucket that a value describes.
fn nested(value: &[u8], page: u64) -> Result<Bucket, BoltError> {
    let root = u64_at(value, 0).filter(|_| value.len() >= BUCKET_BYTES);
    match root {
        None => Err(BoltError::damaged(page, "a bucket's head is cut")),
        Some(0) => Ok(Bucket { root: 0, inline: Some(value[BUCKET_BYTES..].to_vec()) }),
        Some(root) => Ok(Bucket { root, inline: None }),
    }
}
