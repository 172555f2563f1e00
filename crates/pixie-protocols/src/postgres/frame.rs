//! Messages as they are framed (PostgreSQL's documentation, section 55.7).
//!
//! A type byte, a length that counts itself, the payload. Only the first packets of a client have
//! no type.

use std::ops::RangeInclusive;

/// Bytes of a type and a length.
pub(super) const HEADER: usize = 5;

/// Bytes of the length and the code of a packet without a type.
pub(super) const UNTYPED_HEADER: usize = 8;

/// The longest message there is: a length is signed, and the server allocates no more than this.
const MAX: u32 = 0x3fff_ffff;

/// The longest message of a type that is never long (libpq's `VALID_LONG_MESSAGE_TYPE`).
const MAX_SHORT: u32 = 30_000;

/// The longest packet without a type (`MAX_STARTUP_PACKET_LENGTH`).
const MAX_UNTYPED: u32 = 10_000;

/// Who sends a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The client.
    Frontend,
    /// The server.
    Backend,
}

/// The type of a message, and the length of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: u8,
    pub(super) length: u32,
}

impl Header {
    /// The header of a message of this side; `None` when there is no such message.
    #[inline]
    pub(super) fn read(side: Side, bytes: [u8; HEADER]) -> Option<Self> {
        let [kind, length @ ..] = bytes;
        let length = u32::from_be_bytes(length).checked_sub(4)?;
        let lengths = match side {
            Side::Frontend => frontend(kind),
            Side::Backend => backend(kind),
        };
        lengths?.contains(&length).then_some(Self { kind, length })
    }
}

/// Whether the side has messages of this type.
pub(super) fn is_known(side: Side, kind: u8) -> bool {
    match side {
        Side::Frontend => frontend(kind).is_some(),
        Side::Backend => backend(kind).is_some(),
    }
}

/// The lengths that the payload of a client's message can have.
#[inline]
fn frontend(kind: u8) -> Option<RangeInclusive<u32>> {
    Some(match kind {
        b'Q' => 1..=MAX,
        b'P' => 4..=MAX,
        b'B' => 8..=MAX,
        b'd' => 0..=MAX,
        b'F' => 8..=MAX,
        b'E' => 5..=MAX_SHORT,
        b'D' | b'C' => 2..=MAX_SHORT,
        b'f' => 1..=MAX_SHORT,
        b'p' => 0..=0xffff,
        b'S' | b'H' | b'X' | b'c' => 0..=0,
        _ => return None,
    })
}

/// The lengths that the payload of a server's message can have.
#[inline]
fn backend(kind: u8) -> Option<RangeInclusive<u32>> {
    Some(match kind {
        b'D' | b'T' => 2..=MAX,
        b'd' => 0..=MAX,
        b'V' => 4..=MAX,
        b'E' | b'N' => 1..=MAX,
        b'A' => 6..=MAX,
        b'C' => 1..=MAX_SHORT,
        b'Z' => 1..=1,
        b'1' | b'2' | b'3' | b'I' | b'c' | b'n' | b's' => 0..=0,
        b't' => 2..=MAX,
        b'S' => 2..=MAX_SHORT,
        b'R' => 4..=MAX_SHORT,
        // The secret has 4 bytes, from version 3.2 on up to 256.
        b'K' => 8..=260,
        b'G' | b'H' | b'W' => 3..=MAX_SHORT,
        b'v' => 8..=MAX_SHORT,
        _ => return None,
    })
}

/// A packet without a type: what it is, and the bytes that follow its length and code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Untyped {
    pub(super) code: Code,
    pub(super) length: u32,
}

/// What a packet without a type is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// A startup message of version 3.
    Startup,
    /// A request to cancel a statement.
    Cancel,
    /// A question whether the connection can be encrypted, by TLS or by GSSAPI.
    Encryption,
}

impl Untyped {
    /// The head of a packet without a type; `None` when there is none like it.
    pub(super) fn read(bytes: [u8; UNTYPED_HEADER]) -> Option<Self> {
        let [a, b, c, d, code @ ..] = bytes;
        let length = u32::from_be_bytes([a, b, c, d]);
        let rest = length.checked_sub(UNTYPED_HEADER as u32)?;
        let code = match (code, rest) {
            // Up to 3.9999, with which clients find out whether servers can negotiate.
            ([0, 3, ..], 1..=MAX_UNTYPED) => Code::Startup,
            ([0x04, 0xd2, 0x16, 0x2e], 8..=260) => Code::Cancel,
            ([0x04, 0xd2, 0x16, 0x2f | 0x30], 0) => Code::Encryption,
            _ => return None,
        };
        Some(Self { code, length: rest })
    }
}

/// How many bytes of a payload are looked at: none of those that only carry rows or secrets.
pub(super) fn wanted(side: Side, kind: u8) -> usize {
    match (side, kind) {
        // A function's arguments, data and passwords.
        (Side::Frontend, b'd' | b'p') | (Side::Backend, b'D' | b'd' | b'V') => 0,
        (Side::Frontend, b'F') => 4,
        // Not the secret.
        (Side::Backend, b'K') => 4,
        // Not the salt, nor what SASL exchanges.
        (Side::Backend, b'R') => 4,
        _ => usize::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_fit_types() {
        let header = |side, kind, length: u32| {
            let [a, b, c, d] = length.to_be_bytes();
            Header::read(side, [kind, a, b, c, d]).map(|header| header.length)
        };
        assert_eq!(header(Side::Frontend, b'Q', 13), Some(9));
        assert_eq!(header(Side::Frontend, b'Q', 4), None, "there is always a NUL");
        assert_eq!(header(Side::Frontend, b'S', 4), Some(0));
        assert_eq!(header(Side::Frontend, b'S', 5), None);
        assert_eq!(header(Side::Backend, b'Z', 5), Some(1));
        assert_eq!(header(Side::Backend, b'D', 0x7fff_ffff), None);
        assert_eq!(header(Side::Backend, b'Q', 13), None, "only clients ask");
        assert_eq!(header(Side::Backend, b'D', 3), None, "a length counts itself");
    }

    #[test]
    fn packets_without_a_type() {
        let untyped = |text: &[u8; 8]| Untyped::read(*text);
        let encryption = Some(Untyped { code: Code::Encryption, length: 0 });
        assert_eq!(untyped(b"\x00\x00\x00\x08\x04\xd2\x16\x2f"), encryption);
        assert_eq!(untyped(b"\x00\x00\x00\x08\x04\xd2\x16\x30"), encryption);
        let cancel = Some(Untyped { code: Code::Cancel, length: 8 });
        assert_eq!(untyped(b"\x00\x00\x00\x10\x04\xd2\x16\x2e"), cancel);
        let startup = Some(Untyped { code: Code::Startup, length: 33 });
        assert_eq!(untyped(b"\x00\x00\x00\x29\x00\x03\x00\x02"), startup);
        assert_eq!(untyped(b"\x00\x00\x00\x29\x00\x02\x00\x00"), None, "version 2");
        assert_eq!(untyped(b"\x00\x00\x00\x07\x00\x03\x00\x00"), None);
    }
}
