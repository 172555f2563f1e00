//! The head of a frame: pure decoding (RFC 6455, section 5.2).

use pixie_core::id::Role;
use pixie_core::record::WebSocketOpcode;

/// The most bytes of a control frame's payload (RFC 6455, section 5.5).
const MAX_CONTROL: u64 = 125;

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The last frame of its message.
    pub(super) is_final: bool,
    /// The three reserved bits; an extension gives them meaning.
    pub(super) reserved: u8,
    pub(super) opcode: u8,
    pub(super) mask: Option<[u8; 4]>,
    /// Bytes of payload.
    pub(super) length: u64,
    /// The length was written in as few bytes as it can be.
    pub(super) is_minimal: bool,
}

/// The reserved bit by which permessage-deflate marks a compressed message (RFC 7692, section 6).
pub(super) const COMPRESSED: u8 = 0b100;

impl Head {
    /// Decodes the front of `bytes`: the head and its size, or `None` when it goes on beyond them.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        let (length, is_minimal, rest) = match second & 0x7f {
            126 => {
                let (length, rest) = rest.split_first_chunk()?;
                let length = u64::from(u16::from_be_bytes(*length));
                (length, length > 125, rest)
            }
            127 => {
                let (length, rest) = rest.split_first_chunk()?;
                let length = u64::from_be_bytes(*length);
                (length, length > u64::from(u16::MAX), rest)
            }
            length => (u64::from(length), true, rest),
        };
        let (mask, rest) = match second & 0x80 {
            0 => (None, rest),
            _ => {
                let (mask, rest) = rest.split_first_chunk()?;
                (Some(*mask), rest)
            }
        };
        let head = Self {
            is_final: first & 0x80 != 0,
            reserved: first >> 4 & 0b111,
            opcode: first & 0x0f,
            mask,
            length,
            is_minimal,
        };
        Some((head, bytes.len() - rest.len()))
    }

    /// Close, ping, pong and those to come.
    pub(super) fn is_control(&self) -> bool {
        self.opcode & 0b1000 != 0
    }

    /// Which end sends frames like this: a client masks them, and a server does not.
    pub(super) fn sender(&self) -> Role {
        if self.mask.is_some() { Role::Client } else { Role::Server }
    }

    /// What no end may send, whatever came before.
    pub(super) fn violation(&self, may_compress: bool) -> Option<&'static str> {
        let compresses = may_compress && !self.is_control() && self.opcode != 0;
        let allowed = if compresses { COMPRESSED } else { 0 };
        match WebSocketOpcode::of(self.opcode) {
            _ if self.reserved & !allowed != 0 => Some("reserved bits are set"),
            WebSocketOpcode::Reserved(_) => Some("the opcode is reserved"),
            _ if self.is_control() && !self.is_final => Some("a control frame is fragmented"),
            _ if self.is_control() && self.length > MAX_CONTROL => {
                Some("a control frame is too long")
            }
            _ if !self.is_minimal || self.length >> 63 != 0 => Some("the length is not minimal"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_6455_are_understood() {
        // Section 5.7.
        let (head, size) = Head::decode(b"\x81\x05Hello").unwrap();
        assert!(head.is_final && head.mask.is_none());
        assert_eq!((head.opcode, head.length, size), (1, 5, 2));
        let (head, size) = Head::decode(b"\x81\x85\x37\xfa\x21\x3d\x7f").unwrap();
        assert_eq!((head.mask, size), (Some([0x37, 0xfa, 0x21, 0x3d]), 6));
        let (head, _) = Head::decode(b"\x01\x03Hel").unwrap();
        assert!(!head.is_final);
        let (head, size) = Head::decode(b"\x82\x7e\x01\x00").unwrap();
        assert_eq!((head.length, size), (256, 4));
        let (head, size) = Head::decode(b"\x82\x7f\0\0\0\0\0\x01\0\0").unwrap();
        assert_eq!((head.length, size, head.violation(false)), (65536, 10, None));
    }

    #[test]
    fn a_head_that_is_cut_is_partial() {
        let head = b"\x82\xff\0\0\0\0\0\x01\0\0abcd";
        for length in 0..head.len() {
            assert_eq!(Head::decode(&head[..length]), None);
        }
        assert_eq!(Head::decode(head).map(|(_, size)| size), Some(14));
    }

    #[test]
    fn what_nobody_may_send_is_known() {
        for (bytes, may_compress, is_allowed) in [
            (&b"\x81\x00"[..], false, true),
            (b"\xc1\x00", false, false),
            (b"\xc1\x00", true, true),
            (b"\xc0\x00", true, false),
            (b"\xc9\x00", true, false),
            (b"\xa1\x00", true, false),
            (b"\x83\x00", false, false),
            (b"\x09\x00", false, false),
            (b"\x89\x7e\x00\x80", false, false),
            (b"\x81\x7e\x00\x7d", false, false),
            (b"\x81\x7f\xff\0\0\0\0\0\0\0", false, false),
        ] {
            let (head, _) = Head::decode(bytes).unwrap();
            assert_eq!(head.violation(may_compress).is_none(), is_allowed, "{head:?}");
        }
    }
}
