//! Writing: a new file from its beginning to its end, each bucket's keys in their order.
//!
//! Leaves are written as they fill up, and each level of branches above them as it does; the two pages that begin the
//! file come last. So what is in memory does not grow with the file.

use std::io::{self, Seek, SeekFrom, Write};

use super::BoltError;
use super::page::{BRANCH, ELEMENT_BYTES, FREELIST, HEADER_BYTES, Header, IS_BUCKET, LEAF, Meta, PAGE_BYTES};

/// A file in the making.
pub struct BoltWriter<W> {
    out: W,
    next: u64,
    /// The buckets so far: names in their order, and what their values are.
    buckets: Vec<(Vec<u8>, Vec<u8>)>,
    tree: Option<Tree>,
}

/// A bucket in the making.
#[derive(Default)]
struct Tree {
    name: Vec<u8>,
    leaf: Page,
    /// Branches above the leaves, level by level.
    levels: Vec<Page>,
    last: Option<Vec<u8>>,
}

/// The elements of a page that is not written yet.
#[derive(Default)]
struct Page {
    elements: Vec<Element>,
    bytes: usize,
}

struct Element {
    key: Vec<u8>,
    value: Vec<u8>,
    /// Of a branch.
    child: u64,
    flags: u32,
}

impl Page {
    fn push(&mut self, element: Element) {
        self.bytes += size(&element);
        self.elements.push(element);
    }

    /// Whether one more would be too much for a page; a page may be longer for the sake of a single element.
    fn is_full_for(&self, element: &Element) -> bool {
        !self.elements.is_empty() && HEADER_BYTES + self.bytes + size(element) > PAGE_BYTES as usize
    }

    fn first_key(&self) -> Vec<u8> {
        self.elements.first().map(|element| element.key.clone()).unwrap_or_default()
    }

    /// The page's bytes, in whole pages.
    fn encode(&self, id: u64, kind: u16) -> Vec<u8> {
        let bytes = HEADER_BYTES + self.bytes;
        let pages = bytes.div_ceil(PAGE_BYTES as usize).max(1);
        let mut out = Vec::with_capacity(pages * PAGE_BYTES as usize);
        // A page holds far fewer elements than 2^16, and an element fewer pages than 2^32.
        Header { id, kind, count: self.elements.len() as u16, overflow: (pages - 1) as u32 }.write(&mut out);
        let mut data = ELEMENT_BYTES * self.elements.len();
        for (at, element) in self.elements.iter().enumerate() {
            // An offset counts from its element.
            let offset = (data - at * ELEMENT_BYTES) as u32;
            let key_size = element.key.len() as u32;
            if kind == BRANCH {
                out.extend_from_slice(&offset.to_le_bytes());
                out.extend_from_slice(&key_size.to_le_bytes());
                out.extend_from_slice(&element.child.to_le_bytes());
            } else {
                for number in [element.flags, offset, key_size, element.value.len() as u32] {
                    out.extend_from_slice(&number.to_le_bytes());
                }
            }
            data += element.key.len() + element.value.len();
        }
        for element in &self.elements {
            out.extend_from_slice(&element.key);
            out.extend_from_slice(&element.value);
        }
        out.resize(pages * PAGE_BYTES as usize, 0);
        out
    }
}

fn size(element: &Element) -> usize {
    ELEMENT_BYTES + element.key.len() + element.value.len()
}

impl<W: Write + Seek> BoltWriter<W> {
    /// Begins a file in `out`, which is empty.
    ///
    /// # Errors
    /// Those of writing.
    pub fn new(out: W) -> Result<Self, BoltError> {
        let mut this = Self { out, next: 0, buckets: Vec::new(), tree: None };
        // The first two come last; the third is the list of free pages, of which there are none.
        this.append(&vec![0; 2 * PAGE_BYTES as usize])?;
        let free = Page::default().encode(2, FREELIST);
        this.append(&free)?;
        Ok(this)
    }

    /// Begins a bucket; the one before it ends. Names come in their order.
    ///
    /// # Errors
    /// A name that is not behind the one before it, and those of writing.
    pub fn bucket(&mut self, name: &[u8]) -> Result<(), BoltError> {
        self.end_bucket()?;
        if self.buckets.last().is_some_and(|(last, _)| last.as_slice() >= name) {
            return Err(disorder());
        }
        self.tree = Some(Tree { name: name.to_vec(), ..Tree::default() });
        Ok(())
    }

    /// Puts a key behind all others of its bucket.
    ///
    /// # Errors
    /// A key that is not behind the one before it, and those of writing.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), BoltError> {
        let Some(mut tree) = self.tree.take() else { return Err(disorder()) };
        if key.is_empty() || tree.last.as_deref().is_some_and(|last| last >= key) {
            return Err(disorder());
        }
        tree.last = Some(key.to_vec());
        self.put_leaf(&mut tree, Element { key: key.to_vec(), value: value.to_vec(), child: 0, flags: 0 })?;
        self.tree = Some(tree);
        Ok(())
    }

    /// Ends the file. Returns what it was written to, with the number of bytes.
    ///
    /// # Errors
    /// Those of writing.
    pub fn finish(mut self) -> Result<(W, u64), BoltError> {
        self.end_bucket()?;
        let mut tree = Tree::default();
        for (key, value) in std::mem::take(&mut self.buckets) {
            self.put_leaf(&mut tree, Element { key, value, child: 0, flags: IS_BUCKET })?;
        }
        let root = self.end(tree)?;
        let meta = Meta { page_bytes: PAGE_BYTES, root, freelist: 2, end: self.next, txid: 0 };
        self.out.seek(SeekFrom::Start(0)).map_err(BoltError::Unwritten)?;
        for id in [0, 1] {
            let page = Meta { txid: id, ..meta }.page(id);
            self.out.write_all(&page).map_err(BoltError::Unwritten)?;
        }
        self.out.flush().map_err(BoltError::Unwritten)?;
        Ok((self.out, self.next * u64::from(PAGE_BYTES)))
    }

    fn end_bucket(&mut self) -> Result<(), BoltError> {
        let Some(tree) = self.tree.take() else { return Ok(()) };
        let name = tree.name.clone();
        let mut value = Vec::new();
        if tree.last.is_none() {
            // An empty bucket is a page within the value.
            value.resize(16, 0);
            Header { id: 0, kind: LEAF, count: 0, overflow: 0 }.write(&mut value);
        } else {
            value.extend_from_slice(&self.end(tree)?.to_le_bytes());
            value.resize(16, 0);
        }
        self.buckets.push((name, value));
        Ok(())
    }

    fn put_leaf(&mut self, tree: &mut Tree, element: Element) -> Result<(), BoltError> {
        if tree.leaf.is_full_for(&element) {
            let full = std::mem::take(&mut tree.leaf);
            let id = self.write(&full, LEAF)?;
            self.put_branch(tree, 0, full.first_key(), id)?;
        }
        tree.leaf.push(element);
        Ok(())
    }

    fn put_branch(&mut self, tree: &mut Tree, at: usize, key: Vec<u8>, child: u64) -> Result<(), BoltError> {
        if tree.levels.len() == at {
            tree.levels.push(Page::default());
        }
        let element = Element { key, value: Vec::new(), child, flags: 0 };
        if tree.levels[at].is_full_for(&element) {
            let full = std::mem::take(&mut tree.levels[at]);
            let id = self.write(&full, BRANCH)?;
            self.put_branch(tree, at + 1, full.first_key(), id)?;
        }
        tree.levels[at].push(element);
        Ok(())
    }

    /// Writes what is left of a bucket. Returns its root.
    fn end(&mut self, mut tree: Tree) -> Result<u64, BoltError> {
        let leaf = std::mem::take(&mut tree.leaf);
        let mut root = self.write(&leaf, LEAF)?;
        let mut key = leaf.first_key();
        let mut at = 0;
        while at < tree.levels.len() {
            self.put_branch(&mut tree, at, key, root)?;
            let page = std::mem::take(&mut tree.levels[at]);
            root = self.write(&page, BRANCH)?;
            key = page.first_key();
            at += 1;
        }
        Ok(root)
    }

    fn write(&mut self, page: &Page, kind: u16) -> Result<u64, BoltError> {
        let id = self.next;
        self.append(&page.encode(id, kind))?;
        Ok(id)
    }

    fn append(&mut self, pages: &[u8]) -> Result<(), BoltError> {
        self.out.write_all(pages).map_err(BoltError::Unwritten)?;
        self.next += (pages.len() / PAGE_BYTES as usize) as u64;
        Ok(())
    }
}

fn disorder() -> BoltError {
    BoltError::Unwritten(io::Error::new(io::ErrorKind::InvalidInput, "keys come in the wrong order"))
}
