//! Compressed messages (RFC 7692, section 7.2.2).

use pixie_core::record::BodyDecoding;

/// What a message that was compressed by itself decodes to, at most `limit` bytes; `whole` says
/// that `bytes` are all of it. `None` to keep them as they were sent.
#[cfg(feature = "decompress")]
pub(super) fn inflate(bytes: &[u8], whole: bool, limit: usize) -> (Option<Vec<u8>>, BodyDecoding) {
    use flate2::{Decompress, FlushDecompress, Status};

    /// What the sender has left off, and an empty last block.
    const END: &[u8] = &[0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff];
    let mut input = bytes.to_vec();
    if whole {
        input.extend_from_slice(END);
    }
    // One byte more than is kept shows whether there is more.
    let mut output = Vec::with_capacity(limit + 1);
    let status = Decompress::new(false).decompress_vec(&input, &mut output, FlushDecompress::Sync);
    let is_cut = output.len() > limit;
    output.truncate(limit);
    match status {
        Ok(Status::StreamEnd) if whole && !is_cut => (Some(output), BodyDecoding::Decoded),
        Err(_) if output.is_empty() || whole => (None, BodyDecoding::Failed),
        _ if output.is_empty() => (None, BodyDecoding::None),
        _ => (Some(output), BodyDecoding::Partial),
    }
}

/// Decoding is left out of this build: payloads stay as they were sent.
#[cfg(not(feature = "decompress"))]
pub(super) fn inflate(_: &[u8], _: bool, _: usize) -> (Option<Vec<u8>>, BodyDecoding) {
    (None, BodyDecoding::None)
}

#[cfg(all(test, feature = "decompress"))]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_7692_are_decoded() {
        // Sections 7.2.3.1, 7.2.3.3 (no compression) and 7.2.3.5 (two blocks).
        let examples: [&[u8]; 3] = [
            b"\xf2\x48\xcd\xc9\xc9\x07\x00",
            b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
            b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
        ];
        for bytes in examples {
            let (decoded, decoding) = inflate(bytes, true, 100);
            assert_eq!(decoded.as_deref(), Some(&b"Hello"[..]));
            assert_eq!(decoding, BodyDecoding::Decoded);
        }
    }

    #[test]
    fn what_is_cut_or_too_large_is_decoded_in_part() {
        let bytes = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
        assert_eq!(inflate(bytes, true, 3), (Some(b"Hel".to_vec()), BodyDecoding::Partial));
        let (decoded, decoding) = inflate(&bytes[..4], false, 100);
        assert_eq!(decoding, BodyDecoding::Partial);
        assert!(b"Hello".starts_with(&decoded.unwrap()));
        assert_eq!(inflate(&[0xff; 20], true, 100), (None, BodyDecoding::Failed));
    }
}
