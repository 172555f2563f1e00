//! Base64 as it comes (RFC 4648, section 4): several padded texts may follow each other.

/// Decodes a text that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The bits of the group under way, and how many characters of it there were.
    bits: u32,
    characters: u8,
    padding: u8,
}

/// The text is not what the encoding allows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid;

impl Decoder {
    /// Appends what these characters stand for.
    pub(super) fn decode(&mut self, text: &[u8], output: &mut Vec<u8>) -> Result<(), Invalid> {
        for &character in text {
            let value = match character {
                b'A'..=b'Z' => character - b'A',
                b'a'..=b'z' => character - b'a' + 26,
                b'0'..=b'9' => character - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                b'=' => 0,
                _ => return Err(Invalid),
            };
            match character {
                b'=' if self.characters < 2 => return Err(Invalid),
                b'=' => self.padding += 1,
                _ if self.padding > 0 => return Err(Invalid),
                _ => {}
            }
            self.bits = self.bits << 6 | u32::from(value);
            self.characters += 1;
            if self.characters == 4 {
                let [_, bytes @ ..] = self.bits.to_be_bytes();
                let kept = bytes.len() - usize::from(self.padding);
                output.extend(bytes.iter().take(kept));
                *self = Self::default();
            }
        }
        Ok(())
    }

    /// Whether a group is complete.
    pub(super) fn is_at_boundary(&self) -> bool {
        self.characters == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> Result<Vec<u8>, Invalid> {
        let (mut decoder, mut output) = (Decoder::default(), Vec::new());
        for character in text.as_bytes().chunks(1) {
            decoder.decode(character, &mut output)?;
        }
        assert_eq!(decoder.is_at_boundary(), text.len().is_multiple_of(4));
        Ok(output)
    }

    #[test]
    fn the_vectors_of_rfc_4648() {
        let vectors = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (length, text) in vectors.iter().enumerate() {
            assert_eq!(decode(text), Ok(b"foobar"[..length].to_vec()));
        }
        assert_eq!(decode("+//+"), Ok(vec![0xfb, 0xff, 0xfe]));
    }

    #[test]
    fn texts_may_follow_each_other_and_nothing_else() {
        assert_eq!(decode("Zm8=Zg==Zm9v"), Ok(b"foffoo".to_vec()));
        assert_eq!(decode("Z==="), Err(Invalid));
        assert_eq!(decode("Zm=v"), Err(Invalid));
        assert_eq!(decode("Zm9-"), Err(Invalid));
    }
}
