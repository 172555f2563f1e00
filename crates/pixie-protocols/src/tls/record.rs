//! The record layer (RFC 8446, section 5.1).

/// Bytes of the header.
pub(super) const HEADER: usize = 5;

/// The most bytes of a record (RFC 5246, section 6.2.3).
const MAX_LENGTH: u16 = (1 << 14) + 2048;

/// What is in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    ChangeCipherSpec,
    Alert,
    Handshake,
    ApplicationData,
    Heartbeat,
}

/// A record's header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) content: Content,
    pub(super) length: u16,
}

impl Header {
    /// The header, if it is one.
    pub(super) fn read(bytes: [u8; HEADER]) -> Option<Self> {
        let [content, major, minor, high, low] = bytes;
        let content = match content {
            20 => Content::ChangeCipherSpec,
            21 => Content::Alert,
            22 => Content::Handshake,
            23 => Content::ApplicationData,
            24 => Content::Heartbeat,
            _ => return None,
        };
        let length = u16::from_be_bytes([high, low]);
        (major == 3 && minor <= 4 && length <= MAX_LENGTH).then_some(Self { content, length })
    }

    /// Whether these may become a header.
    pub(super) fn may_begin(bytes: &[u8]) -> bool {
        let mut padded = [20, 3, 3, 0, 1];
        padded.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
        Self::read(padded).is_some()
    }
}
