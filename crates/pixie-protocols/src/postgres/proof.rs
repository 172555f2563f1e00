//! Whether bytes are messages, where nothing says that a message begins there.
//!
//! Used to recognise the protocol and to find the next message after a gap. Values in rows and
//! parameters have lengths in front of them just as messages have, so a single short message proves
//! nothing: `Z`, length 5, `I` may be the column "Z" and the start of the column "India". Messages
//! are checked to their last byte and given points, and it takes two. What is decided is decided
//! by a number of bytes that only their content sets, however they trickle in.

use super::decode::Reader;
use super::frame::{HEADER, Header, Side, is_known};

/// What proves that messages begin.
const ENOUGH: u32 = 2;

/// A message must be within so many bytes to prove something.
pub(super) const MAX_PROOF: usize = 8 << 10;

/// Of a statement so many bytes are looked at.
const MAX_STATEMENT: usize = 256;

/// What bytes prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// They begin with a message of this side.
    Proven,
    /// They do not.
    No,
    /// They may; it cannot be told before there are this many.
    NeedMore(usize),
}

/// Whether these bytes begin with a message of this side.
pub(super) fn proof(side: Side, bytes: &[u8]) -> Proof {
    let (mut at, mut points) = (0, 0);
    loop {
        if at > MAX_PROOF {
            return Proof::No;
        }
        let rest = bytes.get(at..).unwrap_or_default();
        let header = match header(side, rest) {
            Ok(header) => header,
            Err(Proof::NeedMore(more)) => return Proof::NeedMore(at + more),
            Err(proof) => return proof,
        };
        let length = header.length as usize;
        let looked_at = match (side, header.kind) {
            (Side::Frontend, b'Q' | b'P') => length.min(MAX_STATEMENT),
            _ => length,
        };
        let payload = rest.get(HEADER..).unwrap_or_default();
        if at + HEADER + looked_at > MAX_PROOF || is_refuted_early(side, header, payload) {
            return Proof::No;
        }
        let Some(payload) = payload.get(..looked_at) else {
            return Proof::NeedMore(at + HEADER + looked_at);
        };
        match strength(side, header, payload) {
            Some(more) => points += more,
            None => return Proof::No,
        }
        if points >= ENOUGH {
            return Proof::Proven;
        }
        at += HEADER + length;
    }
}

fn header(side: Side, bytes: &[u8]) -> Result<Header, Proof> {
    let Some(header) = bytes.first_chunk() else {
        return match bytes {
            [kind, ..] if !is_known(side, *kind) => Err(Proof::No),
            // Nothing of more than 16 MiB is believed.
            [_, length, ..] if *length > 0 => Err(Proof::No),
            _ => Err(Proof::NeedMore(HEADER)),
        };
    };
    match Header::read(side, *header) {
        Some(header) if header.length < 1 << 24 => Ok(header),
        _ => Err(Proof::No),
    }
}

/// Whether the first bytes of a payload already say that it is none: so that not much is kept that
/// is no message.
fn is_refuted_early(side: Side, header: Header, payload: &[u8]) -> bool {
    let Some(&[first, second]) = payload.first_chunk() else { return false };
    match (side, header.kind) {
        // More columns than there can be (`MaxTupleAttributeNumber`).
        (Side::Backend, b'T' | b'D') => u16::from_be_bytes([first, second]) > 1664,
        (Side::Backend, b'E' | b'N') => first != b'S' || !is_text(&[second]),
        (Side::Backend, b'C') => !first.is_ascii_uppercase(),
        (Side::Frontend, b'Q') => !is_text(&[first]) && header.length > 1,
        _ => false,
    }
}

/// How much the payload of a message proves; `None` if it is none.
fn strength(side: Side, header: Header, payload: &[u8]) -> Option<u32> {
    match side {
        Side::Frontend => frontend(header, payload),
        Side::Backend => backend(header.kind, payload),
    }
}

fn frontend(header: Header, payload: &[u8]) -> Option<u32> {
    let is_whole = payload.len() == header.length as usize;
    let mut reader = Reader::new(payload);
    match header.kind {
        b'Q' => {
            let text = if is_whole { payload.strip_suffix(&[0])? } else { payload };
            is_text(text).then(|| if has_word(text) { 2 } else { 1 })
        }
        b'P' => {
            let name = reader.text()?;
            if !is_text(name) {
                return None;
            }
            if !is_whole {
                let rest = reader.rest();
                return is_text(reader.text().unwrap_or(rest)).then_some(2);
            }
            let text = reader.text()?;
            let types = reader.u16()?;
            reader.take(4 * usize::from(types))?;
            let fits = is_text(text) && reader.is_at_end();
            fits.then(|| if has_word(text) { 2 } else { 1 })
        }
        b'B' => {
            let names = [reader.text()?, reader.text()?];
            formats(&mut reader)?;
            let parameters = reader.u16()?;
            values(&mut reader, parameters)?;
            formats(&mut reader)?;
            (names.into_iter().all(is_text) && reader.is_at_end()).then_some(1)
        }
        b'D' | b'C' => {
            let what = reader.u8()?;
            let name = reader.text()?;
            (matches!(what, b'S' | b'P') && is_text(name) && reader.is_at_end()).then_some(1)
        }
        b'E' => {
            let name = reader.text()?;
            reader.u32()?;
            (is_text(name) && reader.is_at_end()).then_some(1)
        }
        b'S' | b'H' | b'X' | b'c' => Some(1),
        b'f' => (is_text(reader.text()?) && reader.is_at_end()).then_some(1),
        // What has no structure proves nothing.
        _ => None,
    }
}

fn backend(kind: u8, payload: &[u8]) -> Option<u32> {
    let mut reader = Reader::new(payload);
    match kind {
        b'Z' => matches!(payload, b"I" | b"T" | b"E").then_some(1),
        b'C' => is_tag(payload.strip_suffix(&[0])?).then_some(2),
        b'E' | b'N' => is_message(payload).then_some(2),
        b'T' => {
            for _ in 0..reader.u16()? {
                let name = reader.text()?;
                let format = reader.take(18)?.last_chunk::<2>()?;
                if !is_text(name) || !matches!(format, [0, 0 | 1]) {
                    return None;
                }
            }
            // That of a result without columns is two zeros.
            reader.is_at_end().then_some(if payload.len() > 2 { 2 } else { 1 })
        }
        b'D' => {
            let columns = reader.u16()?;
            values(&mut reader, columns)?;
            reader.is_at_end().then_some(1)
        }
        b'1' | b'2' | b'3' | b'I' | b'c' | b'n' | b's' => Some(1),
        b't' => {
            let types = reader.u16()?;
            reader.take(4 * usize::from(types))?;
            reader.is_at_end().then_some(1)
        }
        b'R' => authentication(&mut reader),
        b'S' => {
            let (name, value) = (reader.text()?, reader.text()?);
            let is_name =
                |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'.';
            let fits = !name.is_empty() && name.iter().all(is_name) && is_text(value);
            (fits && reader.is_at_end()).then_some(2)
        }
        b'A' => {
            reader.u32()?;
            let (channel, content) = (reader.text()?, reader.text()?);
            let fits = !channel.is_empty() && is_text(channel) && is_text(content);
            (fits && reader.is_at_end()).then_some(2)
        }
        b'G' | b'H' | b'W' => {
            let is_format = |byte: &u8| *byte <= 1;
            let overall = reader.u8()?;
            let columns = reader.u16()?;
            let formats = reader.take(2 * usize::from(columns))?;
            (overall <= 1 && formats.iter().all(is_format) && reader.is_at_end()).then_some(1)
        }
        b'K' => Some(1),
        _ => None,
    }
}

/// `Authentication…`: its code, and a length that fits it.
fn authentication(reader: &mut Reader<'_>) -> Option<u32> {
    let code = reader.u32()?;
    let rest = reader.rest();
    match (code, rest.len()) {
        (0 | 2 | 3 | 6 | 7 | 9, 0) => Some(1),
        (5, 4) => Some(1),
        (10, 3..) => rest.starts_with(b"SCRAM-SHA-256").then_some(2),
        _ => None,
    }
}

fn formats(reader: &mut Reader<'_>) -> Option<()> {
    let count = reader.u16()?;
    let formats = reader.take(2 * usize::from(count))?;
    formats.chunks(2).all(|format| matches!(format, [0, 0 | 1])).then_some(())
}

fn values(reader: &mut Reader<'_>, count: u16) -> Option<()> {
    for _ in 0..count {
        if let Some(length) = reader.length()? {
            reader.take(length)?;
        }
    }
    Some(())
}

/// Whether this is text, in whatever encoding.
fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte >= b' ' && byte != 0x7f || matches!(byte, b'\t'..=b'\r'))
}

/// Whether a statement begins like one: with a word, a parenthesis or a comment.
fn has_word(statement: &[u8]) -> bool {
    match statement.trim_ascii_start() {
        [b'(' | b'/' | b'-', ..] => true,
        [a, b, ..] => a.is_ascii_alphabetic() && b.is_ascii_alphabetic(),
        _ => false,
    }
}

/// A command tag: words in capitals, and numbers.
fn is_tag(tag: &[u8]) -> bool {
    let is_word = |word: &[u8]| {
        !word.is_empty()
            && (word.iter().all(u8::is_ascii_digit) || word.iter().all(u8::is_ascii_uppercase))
    };
    let mut words = tag.split(|&byte| byte == b' ');
    tag.first().is_some_and(u8::is_ascii_uppercase) && tag.len() >= 2 && words.all(is_word)
}

/// The fields of an error or a notice: a severity and a code come first.
fn is_message(payload: &[u8]) -> bool {
    let mut reader = Reader::new(payload);
    let mut code = None;
    while let Some(kind) = reader.u8() {
        if kind == 0 {
            return code.is_some() && reader.is_at_end();
        }
        let Some(value) = reader.text() else { return false };
        if !kind.is_ascii_alphabetic() || !is_text(value) {
            return false;
        }
        if kind == b'C' {
            let is_state = value.len() == 5 && value.iter().all(u8::is_ascii_alphanumeric);
            code = is_state.then_some(());
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_proven(side: Side, bytes: &[u8]) {
        assert_eq!(proof(side, bytes), Proof::Proven);
        // No fewer bytes say otherwise.
        for length in 0..bytes.len() {
            let verdict = proof(side, &bytes[..length]);
            assert!(matches!(verdict, Proof::NeedMore(_) | Proof::Proven), "{length}: {verdict:?}");
        }
    }

    #[test]
    fn messages_prove_themselves() {
        assert_proven(Side::Frontend, b"Q\0\0\0\x0dSELECT 1\0");
        assert_proven(Side::Frontend, b"P\0\0\0\x10\0SELECT 1\0\0\0");
        assert_proven(Side::Frontend, b"B\0\0\0\x0c\0\0\0\0\0\0\0\0E\0\0\0\x09\0\0\0\0\0");
        assert_proven(Side::Backend, b"C\0\0\0\x0dSELECT 1\0");
        assert_proven(Side::Backend, b"1\0\0\0\x042\0\0\0\x04");
        assert_proven(Side::Backend, b"Z\0\0\0\x05IC\0\0\0\x0aBEGIN\0");
        assert_proven(Side::Backend, b"E\0\0\0\x1dSERROR\0VERROR\0C42P01\0Mx\0\0");
        assert_proven(Side::Backend, b"S\0\0\0\x18server_version\x0015.1\0");
    }

    #[test]
    fn columns_of_rows_do_not() {
        assert_eq!(proof(Side::Backend, b"Z\0\0\0\x05India\0\0\0\x01x"), Proof::No);
        assert_eq!(proof(Side::Backend, b"C\0\0\0\x09SELECT 10\0\0\0\x01"), Proof::No);
        assert_eq!(proof(Side::Backend, b"1\0\0\0\x042024\0\0\0\x01"), Proof::No);
        assert_eq!(proof(Side::Frontend, b"S\0\0\0\x04abcd\0\0"), Proof::No);
    }

    #[test]
    fn one_short_message_is_not_enough() {
        assert_eq!(proof(Side::Backend, b"Z\0\0\0\x05I"), Proof::NeedMore(11));
        assert_eq!(proof(Side::Frontend, b"S\0\0\0\x04"), Proof::NeedMore(10));
    }
}
