//! Frames (RFC 9113, sections 4 and 6): headers, and what their payloads begin with.

/// The bytes before each frame's payload.
pub(super) const HEADER: usize = 9;

/// What a client sends first (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The largest payload before the peers agree on another (`SETTINGS_MAX_FRAME_SIZE`).
pub(super) const USUAL_MAX: u32 = 16_384;

/// The largest payload that they may agree on.
pub(super) const LARGEST_MAX: u32 = (1 << 24) - 1;

pub(super) mod kind {
    pub(in crate::http2) const DATA: u8 = 0;
    pub(in crate::http2) const HEADERS: u8 = 1;
    pub(in crate::http2) const PRIORITY: u8 = 2;
    pub(in crate::http2) const RST_STREAM: u8 = 3;
    pub(in crate::http2) const SETTINGS: u8 = 4;
    pub(in crate::http2) const PUSH_PROMISE: u8 = 5;
    pub(in crate::http2) const PING: u8 = 6;
    pub(in crate::http2) const GOAWAY: u8 = 7;
    pub(in crate::http2) const WINDOW_UPDATE: u8 = 8;
    pub(in crate::http2) const CONTINUATION: u8 = 9;
}

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Bytes of the payload.
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    /// 0 where it is about the connection.
    pub(super) stream: u32,
}

impl Frame {
    /// The header at the start of these bytes, if they are enough.
    #[inline]
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let &[a, b, c, kind, flags, d, e, f, g] = bytes.first_chunk::<HEADER>()?;
        let length = u32::from_be_bytes([0, a, b, c]);
        // The reserved bit is to be ignored.
        let stream = u32::from_be_bytes([d, e, f, g]) & 0x7fff_ffff;
        Some(Self { length, kind, flags, stream })
    }

    /// The length with the header.
    pub(super) fn size(&self) -> u64 {
        u64::from(self.length) + HEADER as u64
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// It is the last one of its stream in this direction.
    pub(super) fn ends_stream(&self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS) && self.has(END_STREAM)
    }

    /// The header block ends with it.
    pub(super) fn ends_headers(&self) -> bool {
        self.has(END_HEADERS)
    }

    pub(super) fn is_ack(&self) -> bool {
        self.has(ACK)
    }

    pub(super) fn is_padded(&self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS | kind::PUSH_PROMISE) && self.has(PADDED)
    }

    /// The bytes of its payload before the part of the header block, without the padding's length.
    pub(super) fn before_block(&self) -> usize {
        match self.kind {
            kind::HEADERS if self.has(PRIORITY) => 5,
            kind::PUSH_PROMISE => 4,
            _ => 0,
        }
    }

    /// Whether it carries a part of a header block.
    pub(super) fn has_block(&self) -> bool {
        matches!(self.kind, kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION)
    }

    /// Whether the rules on lengths and streams of each kind are kept (RFC 9113, section 6). Kinds
    /// that are not known have none.
    pub(super) fn is_valid(&self) -> bool {
        let Self { length, kind, stream, .. } = *self;
        let padding = u32::from(self.is_padded());
        match kind {
            kind::DATA => stream != 0 && length >= padding,
            kind::HEADERS | kind::PUSH_PROMISE => {
                stream != 0 && length >= padding + self.before_block() as u32
            }
            kind::PRIORITY => stream != 0 && length == 5,
            kind::RST_STREAM => stream != 0 && length == 4,
            kind::SETTINGS => {
                stream == 0 && length.is_multiple_of(6) && (length == 0 || !self.is_ack())
            }
            kind::PING => stream == 0 && length == 8,
            kind::GOAWAY => stream == 0 && length >= 8,
            kind::WINDOW_UPDATE => length == 4,
            kind::CONTINUATION => stream != 0,
            _ => true,
        }
    }

    /// Whether it is as usual as a frame must be to be found among other bytes: of a kind that is
    /// known, valid, with no flags but those of its kind, and not too large.
    pub(super) fn is_usual(&self) -> bool {
        let flags = match self.kind {
            kind::DATA => END_STREAM | PADDED,
            kind::HEADERS => END_STREAM | END_HEADERS | PADDED | PRIORITY,
            kind::PUSH_PROMISE => END_HEADERS | PADDED,
            kind::CONTINUATION => END_HEADERS,
            kind::SETTINGS | kind::PING => ACK,
            _ => 0,
        };
        let largest = match self.kind {
            kind::SETTINGS => 6 * 32,
            kind::GOAWAY => 4096,
            _ => USUAL_MAX,
        };
        self.kind <= kind::CONTINUATION
            && (self.kind != kind::HEADERS || self.length > 0)
            && self.flags & !flags == 0
            && self.length <= largest
            && self.is_valid()
    }

    /// The part of the header block in its payload, of which the first bytes are there.
    pub(super) fn block<'a>(&self, payload: &'a [u8]) -> &'a [u8] {
        let start = usize::from(self.is_padded()) + self.before_block();
        let padding = if self.is_padded() { payload.first().copied().unwrap_or(0) } else { 0 };
        let end = (self.length as usize).saturating_sub(usize::from(padding)).min(payload.len());
        payload.get(start..end).unwrap_or_default()
    }
}

/// A number of four bytes at this place.
pub(super) fn number(payload: &[u8], place: usize) -> Option<u32> {
    let bytes = payload.get(place..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*bytes))
}

/// The settings in a payload: identifiers and values (RFC 9113, section 6.5.1).
pub(super) fn settings(payload: &[u8]) -> impl Iterator<Item = (u16, u32)> {
    payload.chunks_exact(6).filter_map(|setting| match *setting {
        [a, b, c, d, e, f] => Some((u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]))),
        _ => None,
    })
}

/// `SETTINGS_MAX_FRAME_SIZE`.
pub(super) const MAX_FRAME_SIZE: u16 = 5;

/// Whether a setting has a value that it may have (RFC 9113, section 6.5.2).
pub(super) fn is_valid_setting((identifier, value): (u16, u32)) -> bool {
    match identifier {
        2 | 8 | 9 => value <= 1,
        4 => value <= 0x7fff_ffff,
        MAX_FRAME_SIZE => (USUAL_MAX..=LARGEST_MAX).contains(&value),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: u32, kind: u8, flags: u8, stream: u32) -> Frame {
        Frame { length, kind, flags, stream }
    }

    #[test]
    fn a_header_is_nine_bytes() {
        let bytes = [0x01, 0x02, 0x03, 1, 0x25, 0x80, 0, 0, 5];
        assert_eq!(Frame::read(&bytes), Some(frame(0x010203, kind::HEADERS, 0x25, 5)));
        assert_eq!(Frame::read(&bytes[..8]), None);
    }

    #[test]
    fn each_kind_has_its_rules() {
        for (valid, invalid) in [
            (frame(0, kind::DATA, 0, 1), frame(0, kind::DATA, 0, 0)),
            (frame(1, kind::DATA, PADDED, 1), frame(0, kind::DATA, PADDED, 1)),
            (frame(6, kind::HEADERS, PADDED | PRIORITY, 1), frame(5, kind::HEADERS, 0x28, 1)),
            (frame(5, kind::PRIORITY, 0, 1), frame(4, kind::PRIORITY, 0, 1)),
            (frame(4, kind::RST_STREAM, 0, 1), frame(4, kind::RST_STREAM, 0, 0)),
            (frame(12, kind::SETTINGS, 0, 0), frame(13, kind::SETTINGS, 0, 0)),
            (frame(0, kind::SETTINGS, ACK, 0), frame(6, kind::SETTINGS, ACK, 0)),
            (frame(4, kind::PUSH_PROMISE, 0, 1), frame(3, kind::PUSH_PROMISE, 0, 1)),
            (frame(8, kind::PING, 0, 0), frame(8, kind::PING, 0, 1)),
            (frame(8, kind::GOAWAY, 0, 0), frame(7, kind::GOAWAY, 0, 0)),
            (frame(4, kind::WINDOW_UPDATE, 0, 0), frame(5, kind::WINDOW_UPDATE, 0, 0)),
            (frame(0, kind::CONTINUATION, 0, 1), frame(0, kind::CONTINUATION, 0, 0)),
        ] {
            assert!(valid.is_valid() && valid.is_usual(), "{valid:?}");
            assert!(!invalid.is_valid() && !invalid.is_usual(), "{invalid:?}");
        }
        let unknown = frame(3, 0x10, 0, 0);
        assert!(unknown.is_valid() && !unknown.is_usual());
    }

    #[test]
    fn a_block_has_neither_padding_nor_priority() {
        let headers = frame(11, kind::HEADERS, PADDED | PRIORITY, 1);
        assert_eq!(headers.block(&[2, 0, 0, 0, 0, 0, b'a', b'b', b'c', 0, 0]), b"abc");
        assert_eq!(headers.block(&[2, 0, 0, 0, 0, 0, b'a']), b"a", "the rest is not there");
        assert_eq!(headers.block(&[9, 0, 0, 0, 0, 0, b'a', b'b', b'c', 0, 0]), b"");
    }
}
