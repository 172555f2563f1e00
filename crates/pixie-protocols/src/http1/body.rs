//! What is kept of a message's body.

use crate::coding;
use bytes::Bytes;
use pixie_core::record::Body;

/// Keeps the start of a body, and counts all of it.
#[derive(Debug, Default)]
pub(super) struct Collector {
    kept: Vec<u8>,
    size: u64,
    limit: usize,
    /// Something of it was not kept: no more is, because what is kept is the start of the body.
    cut: bool,
}

impl Collector {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.size = self.size.saturating_add(bytes.len() as u64);
        if !self.cut {
            let room = self.limit - self.kept.len();
            let keep = bytes.get(..room).unwrap_or(bytes);
            self.kept.extend_from_slice(keep);
            self.cut = keep.len() < bytes.len();
        }
    }

    pub(super) fn gap(&mut self, length: u64) {
        self.size = self.size.saturating_add(length);
        self.cut |= length > 0;
    }

    /// Bytes of memory that are held.
    pub(super) fn memory(&self) -> usize {
        self.kept.capacity()
    }

    /// Fills in the body; `codings` are undone, of which the first was applied first.
    pub(super) fn finish(self, complete: bool, codings: &[&[u8]], body: &mut Body) {
        body.size = self.size;
        body.captured = self.kept.len() as u64;
        body.complete = complete;
        if self.kept.is_empty() {
            return;
        }
        let mut kept = self.kept;
        if !codings.is_empty() {
            let whole = complete && !self.cut;
            let decoded = coding::decode(codings, &kept, whole, self.limit);
            body.decoding = decoded.decoding;
            kept = decoded.bytes.unwrap_or(kept);
        }
        body.bytes = Bytes::from(kept);
    }
}
