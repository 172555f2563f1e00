//! What is kept of a message's body.

use crate::coding;
use crate::grpc::{Format, Messages};
use bytes::Bytes;
use pixie_core::record::{Body, Headers};

/// Keeps the start of a body, and counts all of it.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    kept: Vec<u8>,
    size: u64,
    limit: usize,
    /// Something of it was not kept: no more is, because what is kept is the start of the body.
    cut: bool,
    /// The messages in it, where it is that of a call, or may be.
    messages: Option<Box<Messages>>,
    /// It is that of a call for certain, so that nothing else is kept of it.
    is_call: bool,
}

impl Collector {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// For the body of a call: what is kept are the messages.
    pub(crate) fn of_call(format: Format, limit: usize) -> Self {
        let messages = Some(Box::new(Messages::new(format, limit)));
        Self { messages, is_call: true, ..Self::default() }
    }

    /// For a body of which it is not known whether it is that of a call.
    pub(crate) fn of_either(limit: usize) -> Self {
        Self { limit, is_call: false, ..Self::of_call(Format::Plain, limit) }
    }

    /// How much of the message under way is still to come.
    pub(crate) fn message_rest(&self) -> Option<u64> {
        self.messages.as_ref().map(|messages| messages.remaining())
    }

    /// The messages in it.
    pub(crate) fn take_messages(&mut self) -> Option<Box<Messages>> {
        self.messages.take()
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.size = self.size.saturating_add(bytes.len() as u64);
        if let Some(messages) = &mut self.messages {
            messages.bytes(bytes);
        }
        if !self.cut && !self.is_call {
            let room = self.limit - self.kept.len();
            let keep = bytes.get(..room).unwrap_or(bytes);
            self.kept.extend_from_slice(keep);
            self.cut = keep.len() < bytes.len();
        }
    }

    pub(crate) fn gap(&mut self, length: u64) {
        self.size = self.size.saturating_add(length);
        self.cut |= length > 0;
        if let Some(messages) = &mut self.messages {
            messages.gap(length);
        }
    }

    /// Takes note that a part is missing of which it is not known how long it is.
    pub(crate) fn lose(&mut self) {
        self.cut = true;
        if let Some(messages) = &mut self.messages {
            messages.lose();
        }
    }

    /// How much of it there was.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Corrects the size, where parts are missing and a header field says what it must be.
    pub(crate) fn set_size(&mut self, size: u64) {
        self.size = self.size.max(size);
    }

    /// Bytes of memory that are held.
    pub(crate) fn memory(&self) -> usize {
        self.kept.capacity() + self.messages.as_ref().map_or(0, |messages| messages.memory())
    }

    /// Fills in the body; `codings` are undone, of which the first was applied first.
    pub(crate) fn finish(self, complete: bool, codings: &[&[u8]], body: &mut Body) {
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

/// The codings that were applied to a body, the first one first: content codings, then transfer
/// codings other than chunked.
pub(crate) fn codings(headers: &Headers) -> Vec<&[u8]> {
    ["content-encoding", "transfer-encoding"]
        .into_iter()
        .flat_map(|name| headers.get_all(name))
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"chunked"))
        .collect()
}
