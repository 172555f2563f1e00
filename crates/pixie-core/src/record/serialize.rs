//! What the JSON form of the records has in common.
//!
//! Written by hand and not derived: a record is one flat object, and what is flattened by
//! attributes cannot be serialized by formats that want to know the number of fields.

use crate::Text;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// A part of a record that becomes some of the entries of its object.
pub(super) trait Entries {
    /// Adds the entries.
    fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error>;
}

/// A record as one object that starts with its kind.
pub(super) fn tagged<S: Serializer>(
    kind: &str,
    record: &impl Entries,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("kind", kind)?;
    record.entries(&mut map)?;
    map.end()
}

impl Serialize for Text {
    /// A string, with what is not UTF-8 replaced by U+FFFD.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_str())
    }
}

/// The bytes as text, when they are UTF-8. When they were `cut` short, a character that was cut in
/// two at the end is left off.
pub(super) fn text_of(bytes: &[u8], cut: bool) -> Option<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if cut && error.error_len().is_none() => {
            std::str::from_utf8(bytes.get(..error.valid_up_to())?).ok()
        }
        Err(_) => None,
    }
}

/// Base64 with padding (RFC 4648, section 4).
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4 {
            let digit = (bits >> (18 - 6 * index) & 63) as usize;
            text.push(if index <= group.len() { char::from(ALPHABET[digit]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{base64, text_of};

    #[test]
    fn base64_matches_the_vectors_of_rfc_4648() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (bytes, text) in vectors {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn only_a_cut_excuses_half_a_character() {
        let half = &"pixi\u{e9}".as_bytes()[..5];
        assert_eq!(text_of(half, true), Some("pixi"));
        assert_eq!(text_of(half, false), None);
        assert_eq!(text_of(&[b'a', 0xff, b'b'], true), None);
    }
}
