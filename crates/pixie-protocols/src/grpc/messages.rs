//! The messages that go one way: a prefix of a flag and a length, and so many bytes.

use super::Format;
use super::base64;
use crate::coding;
use bytes::Bytes;
use pixie_core::record::{BodyDecoding, GrpcMessage, GrpcMessages, Headers};

/// The bytes before each message: flags, and the length with the highest byte first.
const PREFIX: usize = 5;

/// The message was compressed.
const COMPRESSED: u8 = 0x01;

/// What follows is no message but the trailers (gRPC-Web).
const TRAILERS: u8 = 0x80;

/// The most messages of which the content is kept.
const MAX_FIRST: usize = 16;

/// The most bytes of trailers that are kept.
const MAX_TRAILERS: usize = 16 << 10;

/// Follows the messages of one direction, and keeps the first bytes of the first ones.
#[derive(Debug)]
pub(crate) struct Messages {
    format: Format,
    text: base64::Decoder,
    prefix: [u8; PREFIX],
    /// How many bytes of the prefix there are.
    prefixed: usize,
    /// What the message under way still has to come.
    remaining: u32,
    in_trailers: bool,
    /// Where the next message begins is not known.
    lost: bool,
    count: u64,
    bytes: u64,
    compressed: u64,
    first: Vec<Kept>,
    /// The content of the first messages, and how much there may be of it.
    kept: Vec<u8>,
    limit: usize,
    trailers: Vec<u8>,
}

/// A message of which the content is kept.
#[derive(Debug)]
struct Kept {
    size: u32,
    compressed: bool,
    start: usize,
    end: usize,
    /// Something of it was not kept, so that no more is.
    cut: bool,
}

impl Messages {
    /// Of which at most `limit` bytes are kept.
    pub(crate) fn new(format: Format, limit: usize) -> Self {
        Self {
            format,
            text: base64::Decoder::default(),
            prefix: [0; PREFIX],
            prefixed: 0,
            remaining: 0,
            in_trailers: false,
            lost: false,
            count: 0,
            bytes: 0,
            compressed: 0,
            first: Vec::new(),
            kept: Vec::new(),
            limit,
            trailers: Vec::new(),
        }
    }

    /// Takes bytes of the body.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        if self.format != Format::WebText {
            return self.binary(bytes);
        }
        const PIECE: usize = 4096;
        let mut binary = Vec::with_capacity(PIECE);
        for piece in bytes.chunks(PIECE) {
            if self.lost {
                return;
            }
            binary.clear();
            let decoded = self.text.decode(piece, &mut binary);
            self.binary(&binary);
            self.lost |= decoded.is_err();
        }
    }

    fn binary(&mut self, mut bytes: &[u8]) {
        while !self.lost && !bytes.is_empty() {
            if self.remaining > 0 {
                let length = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(bytes.len());
                let (content, rest) = bytes.split_at(length);
                self.remaining -= length as u32;
                self.keep(content);
                bytes = rest;
            } else {
                bytes = self.prefix(bytes);
            }
        }
    }

    fn prefix<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let missing = PREFIX - self.prefixed;
        let (start, rest) = bytes.split_at(missing.min(bytes.len()));
        if let Some(place) = self.prefix.get_mut(self.prefixed..self.prefixed + start.len()) {
            place.copy_from_slice(start);
        }
        self.prefixed += start.len();
        if self.prefixed == PREFIX {
            self.prefixed = 0;
            let [flags, length @ ..] = self.prefix;
            self.begin(flags, u32::from_be_bytes(length));
        }
        rest
    }

    fn begin(&mut self, flags: u8, size: u32) {
        let is_web = self.format != Format::Plain;
        if flags & !(COMPRESSED | TRAILERS) != 0 || (flags & TRAILERS != 0 && !is_web) {
            self.lost = true;
            return;
        }
        self.remaining = size;
        self.in_trailers = flags & TRAILERS != 0;
        if self.in_trailers {
            return;
        }
        let compressed = flags & COMPRESSED != 0;
        self.count += 1;
        self.bytes = self.bytes.saturating_add(size.into());
        self.compressed += u64::from(compressed);
        if self.first.len() < MAX_FIRST {
            let start = self.kept.len();
            self.first.push(Kept { size, compressed, start, end: start, cut: false });
        }
    }

    fn keep(&mut self, content: &[u8]) {
        if self.in_trailers {
            let room = MAX_TRAILERS - self.trailers.len();
            self.trailers.extend_from_slice(content.get(..room).unwrap_or(content));
            return;
        }
        if self.count != self.first.len() as u64 {
            return;
        }
        let room = self.limit.saturating_sub(self.kept.len());
        if let Some(message) = self.first.last_mut().filter(|message| !message.cut) {
            let kept = content.get(..room).unwrap_or(content);
            self.kept.extend_from_slice(kept);
            message.end += kept.len();
            message.cut = kept.len() < content.len();
        }
    }

    /// Steps over bytes that are not there.
    pub(crate) fn gap(&mut self, length: u64) {
        let is_within = self.format != Format::WebText && length <= self.remaining.into();
        if length == 0 || self.lost {
            return;
        }
        // Not within the message, or how many bytes the text stands for cannot be told.
        self.lost = !is_within;
        self.remaining = self.remaining.saturating_sub(u32::try_from(length).unwrap_or(u32::MAX));
        if let Some(message) = self.first.last_mut().filter(|_| !self.in_trailers) {
            message.cut = true;
        }
    }

    /// An unknown number of bytes is not there.
    pub(crate) fn lose(&mut self) {
        self.gap(u64::MAX);
    }

    /// How much of the message under way is still to come, in bytes.
    pub(crate) fn remaining(&self) -> u64 {
        self.remaining.into()
    }

    /// Bytes of memory that are held.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Self>()
            + self.kept.capacity()
            + self.trailers.capacity()
            + self.first.capacity() * size_of::<Kept>()
    }

    /// The messages, of which the compressed ones are in this encoding; `complete` says that the
    /// end of the body was seen. And the trailers that came with them.
    pub(crate) fn finish(self, complete: bool, encoding: &[u8]) -> (GrpcMessages, Option<Headers>) {
        let is_whole =
            self.remaining == 0 && self.prefixed == 0 && self.text.is_at_boundary() && !self.lost;
        let content = Bytes::from(self.kept);
        let mut messages = GrpcMessages::default();
        messages.count = self.count;
        messages.bytes = self.bytes;
        messages.compressed = self.compressed;
        messages.complete = complete && is_whole;
        messages.first =
            self.first.iter().map(|kept| kept.message(&content, encoding, self.limit)).collect();
        let trailers = (!self.trailers.is_empty()).then(|| trailers(&self.trailers));
        (messages, trailers)
    }
}

impl Kept {
    fn message(&self, content: &Bytes, encoding: &[u8], limit: usize) -> GrpcMessage {
        let bytes = content.slice(self.start.min(content.len())..self.end.min(content.len()));
        let mut message = GrpcMessage::default();
        message.size = self.size;
        message.compressed = self.compressed;
        message.captured = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        message.bytes = bytes;
        if self.compressed && !encoding.is_empty() && !message.bytes.is_empty() {
            let is_whole = message.captured == message.size;
            let decoded = coding::decode(&[encoding], &message.bytes, is_whole, limit);
            message.decoding = decoded.decoding;
            if let Some(bytes) = decoded.bytes {
                message.bytes = bytes.into();
            }
        } else {
            message.decoding = BodyDecoding::None;
        }
        message
    }
}

/// The fields of trailers that came as a message: lines as in HTTP/1.
fn trailers(block: &[u8]) -> Headers {
    let lines = block.split(|&byte| byte == b'\n');
    let field = |line: &'_ [u8]| {
        let line = line.trim_ascii();
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        Some((name.to_vec(), value.to_vec()))
    };
    lines.filter_map(field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(flags: u8, content: &[u8]) -> Vec<u8> {
        [&[flags][..], &(content.len() as u32).to_be_bytes(), content].concat()
    }

    fn sizes(messages: &GrpcMessages) -> (u64, u64, u64, bool) {
        (messages.count, messages.bytes, messages.compressed, messages.complete)
    }

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let body = [message(0, b"one"), message(0, b""), message(1, b"three")].concat();
        for piece in 1..=body.len() {
            let mut messages = Messages::new(Format::Plain, 4);
            body.chunks(piece).for_each(|piece| messages.bytes(piece));
            let (messages, trailers) = messages.finish(true, b"");
            assert_eq!(sizes(&messages), (3, 8, 1, true));
            let first: Vec<_> = messages.first.iter().map(|m| (m.size, &m.bytes[..])).collect();
            assert_eq!(first, [(3, &b"one"[..]), (0, b""), (5, b"t")]);
            assert_eq!(trailers, None);
        }
    }

    #[test]
    fn a_gap_within_a_message_is_stepped_over() {
        let mut messages = Messages::new(Format::Plain, 100);
        messages.bytes(&[0, 0, 1, 0, 0, b'a']);
        messages.gap(65_530);
        messages.bytes(b"hello");
        messages.bytes(&message(0, b"xy"));
        let (messages, _) = messages.finish(true, b"");
        assert_eq!(sizes(&messages), (2, 65_538, 0, true));
        assert_eq!((&messages.first[0].bytes[..], messages.first[0].captured), (&b"a"[..], 1));
        assert_eq!(&messages.first[1].bytes[..], b"xy");
    }

    #[test]
    fn after_a_gap_beyond_a_message_none_is_made_up() {
        let mut messages = Messages::new(Format::Plain, 100);
        messages.bytes(&message(0, b"xy")[..6]);
        messages.gap(10);
        messages.bytes(&message(0, b"xy"));
        let (messages, _) = messages.finish(true, b"");
        assert_eq!(sizes(&messages), (1, 2, 0, false));
    }

    #[test]
    fn what_is_no_prefix_ends_the_count() {
        let mut messages = Messages::new(Format::Plain, 100);
        messages.bytes(&message(0, b"xy"));
        messages.bytes(b"<html>what is this</html>");
        assert_eq!(sizes(&messages.finish(true, b"").0), (1, 2, 0, false));
    }

    #[test]
    fn trailers_of_the_web_come_last() {
        let body =
            [message(0, b"xy"), message(0x80, b"grpc-status: 5\r\ngrpc-message:none\r\n")].concat();
        let mut messages = Messages::new(Format::Web, 100);
        messages.bytes(&body);
        let (messages, trailers) = messages.finish(true, b"");
        assert_eq!(sizes(&messages), (1, 2, 0, true));
        let trailers = trailers.unwrap();
        assert_eq!(trailers.get("grpc-status"), Some(&b"5"[..]));
        assert_eq!(trailers.get("grpc-message"), Some(&b"none"[..]));
    }

    #[test]
    fn the_text_form_is_base64() {
        // Two messages, each padded for itself.
        let mut messages = Messages::new(Format::WebText, 100);
        for byte in b"AAAAAAJ4eQ==AAAAAAF6" {
            messages.bytes(&[*byte]);
        }
        let (messages, _) = messages.finish(true, b"");
        assert_eq!(sizes(&messages), (2, 3, 0, true));
        assert_eq!(&messages.first[0].bytes[..], b"xy");
        assert_eq!(&messages.first[1].bytes[..], b"z");
    }

    #[cfg(feature = "decompress")]
    #[test]
    fn compressed_messages_are_decompressed() {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(b"hello").unwrap();
        let mut messages = Messages::new(Format::Plain, 100);
        messages.bytes(&message(1, &encoder.finish().unwrap()));
        let (messages, _) = messages.finish(true, b"gzip");
        assert_eq!(&messages.first[0].bytes[..], b"hello");
        assert_eq!(messages.first[0].decoding, BodyDecoding::Decoded);
    }
}
