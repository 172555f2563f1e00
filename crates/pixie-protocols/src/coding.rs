//! Content codings: what a compressed body decodes to, within bounds (RFC 9110, section 8.4.1).

use pixie_core::record::BodyDecoding;

/// What became of a body's codings.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    /// What the bytes decode to; `None` to keep them as they were sent.
    pub(crate) bytes: Option<Vec<u8>>,
    pub(crate) decoding: BodyDecoding,
}

impl Decoded {
    fn as_sent(decoding: BodyDecoding) -> Self {
        Self { bytes: None, decoding }
    }
}

/// The most codings that are undone; nobody applies more than two.
#[cfg(feature = "decompress")]
const MAX_CODINGS: usize = 4;

/// Undoes `codings`, of which the first was applied first.
///
/// `whole` says that `bytes` are all of the body. No more than `limit` bytes come out, nor out of
/// any one coding.
#[cfg(feature = "decompress")]
pub(crate) fn decode(codings: &[&[u8]], bytes: &[u8], whole: bool, limit: usize) -> Decoded {
    let codings: Option<Vec<Coding>> = codings
        .iter()
        .rev()
        .filter(|coding| !is_identity(coding))
        .map(|c| Coding::named(c))
        .collect();
    let Some(codings) = codings.filter(|codings| codings.len() <= MAX_CODINGS) else {
        return Decoded::as_sent(BodyDecoding::None);
    };
    let mut whole = whole;
    let mut decoded: Option<Vec<u8>> = None;
    for coding in codings {
        let input = decoded.as_deref().unwrap_or(bytes);
        if input.is_empty() {
            break;
        }
        let step = coding.decode(input, limit);
        match step.end {
            End::Reached => {}
            End::Cut => whole = false,
            // What comes after the end of what was captured looks like an error, too.
            End::Invalid if !whole && !step.bytes.is_empty() => {}
            End::Invalid => return Decoded::as_sent(BodyDecoding::Failed),
        }
        decoded = Some(step.bytes);
    }
    match decoded {
        Some(bytes) if whole => Decoded { bytes: Some(bytes), decoding: BodyDecoding::Decoded },
        Some(bytes) if !bytes.is_empty() => {
            Decoded { bytes: Some(bytes), decoding: BodyDecoding::Partial }
        }
        _ => Decoded::as_sent(BodyDecoding::None),
    }
}

/// Decoding is left out of this build: bodies stay as they were sent.
#[cfg(not(feature = "decompress"))]
pub(crate) fn decode(_: &[&[u8]], _: &[u8], _: bool, _: usize) -> Decoded {
    Decoded::as_sent(BodyDecoding::None)
}

#[cfg(feature = "decompress")]
pub(crate) use decompress::is_identity;
#[cfg(feature = "decompress")]
use decompress::{Coding, End};

#[cfg(feature = "decompress")]
mod decompress {
    use std::io::{ErrorKind, Read};

    /// The largest window that zstd may ask of us (RFC 9659, section 3).
    const ZSTD_WINDOW: u64 = 8 << 20;

    #[derive(Clone, Copy, Debug)]
    pub(crate) enum Coding {
        Gzip,
        Deflate,
        Brotli,
        Zstd,
    }

    /// How the decoding of a body ended.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum End {
        /// At its end.
        Reached,
        /// Because the input ended, or the limit was reached.
        Cut,
        /// At something that the coding does not allow.
        Invalid,
    }

    #[derive(Debug)]
    pub(crate) struct Step {
        pub(crate) bytes: Vec<u8>,
        pub(crate) end: End,
    }

    /// Whether this coding leaves the bytes as they are.
    pub(crate) fn is_identity(name: &[u8]) -> bool {
        name.eq_ignore_ascii_case(b"identity")
    }

    impl Coding {
        pub(crate) fn named(name: &[u8]) -> Option<Self> {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            match () {
                () if is("gzip") || is("x-gzip") => Some(Self::Gzip),
                () if is("deflate") => Some(Self::Deflate),
                () if is("br") => Some(Self::Brotli),
                () if is("zstd") => Some(Self::Zstd),
                () => None,
            }
        }

        pub(crate) fn decode(self, input: &[u8], limit: usize) -> Step {
            match self {
                Self::Gzip => read(flate2::read::MultiGzDecoder::new(input), limit),
                Self::Deflate if is_zlib(input) => {
                    read(flate2::read::ZlibDecoder::new(input), limit)
                }
                Self::Deflate => read(flate2::read::DeflateDecoder::new(input), limit),
                Self::Brotli => brotli(input, limit),
                Self::Zstd => zstd(input, limit),
            }
        }
    }

    /// Many servers leave out the zlib wrapper that RFC 9110 asks for. Its first two bytes are a
    /// multiple of 31 and name method 8 (RFC 1950, section 2.2).
    fn is_zlib(input: &[u8]) -> bool {
        match input {
            &[first, second, ..] => {
                first & 0x0f == 8 && u16::from_be_bytes([first, second]) % 31 == 0
            }
            _ => true,
        }
    }

    /// The brotli reader does not tell an input that was cut from one that is complete, so it is
    /// watched from the outside: who asks for more than there is has not come to an end.
    fn brotli(input: &[u8], limit: usize) -> Step {
        let mut asked_for_more = false;
        let source = Watched { input, ran_out: &mut asked_for_more };
        let mut step = read(brotli_decompressor::Decompressor::new(source, 4096), limit);
        if step.end == End::Reached && asked_for_more {
            step.end = End::Cut;
        }
        step
    }

    struct Watched<'a> {
        input: &'a [u8],
        ran_out: &'a mut bool,
    }

    impl Read for Watched<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            *self.ran_out |= self.input.is_empty();
            self.input.read(buffer)
        }
    }

    fn zstd(mut input: &[u8], limit: usize) -> Step {
        let mut bytes = Vec::new();
        // A body may consist of several frames (RFC 8878, section 3).
        loop {
            let decoder =
                ruzstd::decoding::StreamingDecoder::new_with_max_window_size(input, ZSTD_WINDOW);
            let mut decoder = match decoder {
                Ok(decoder) => decoder,
                Err(_) if input.len() < 18 => return Step { bytes, end: End::Cut },
                Err(_) => return Step { bytes, end: End::Invalid },
            };
            let step = read(&mut decoder, limit - bytes.len().min(limit));
            bytes.extend_from_slice(&step.bytes);
            input = decoder.into_inner();
            if step.end != End::Reached || input.is_empty() {
                return Step { bytes, end: step.end };
            }
        }
    }

    /// Reads to the end, to the limit or to an error.
    fn read(mut reader: impl Read, limit: usize) -> Step {
        let mut bytes = Vec::new();
        let mut chunk = [0; 4096];
        let end = loop {
            match reader.read(&mut chunk) {
                Ok(0) => break End::Reached,
                Ok(length) => {
                    let room = limit - bytes.len().min(limit);
                    bytes.extend_from_slice(chunk.get(..length.min(room)).unwrap_or_default());
                    if length > room {
                        break End::Cut;
                    }
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::UnexpectedEof => break End::Cut,
                    _ => break End::Invalid,
                },
            }
        };
        Step { bytes, end }
    }
}

#[cfg(all(test, feature = "decompress"))]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"hello hello hello";
    /// `printf 'hello hello hello' | gzip -n`
    const GZIP: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xcb\x48\xcd\xc9\xc9\x57\xc8\x40\x90\0\
        \x80\x88\xf9\xe5\x11\0\0\0";
    /// The same without gzip's head and trailer: bare deflate.
    const DEFLATE: &[u8] = b"\xcb\x48\xcd\xc9\xc9\x57\xc8\x40\x90\0";
    /// `python3 -c 'import zlib; …zlib.compress(b"hello hello hello")'`
    const ZLIB: &[u8] = b"\x78\x9c\xcb\x48\xcd\xc9\xc9\x57\xc8\x40\x90\x00\x3a\x2e\x06\x7d";
    /// `printf 'hello hello hello' | brotli -c`
    const BROTLI: &[u8] =
        b"\x1f\x10\x00\xf8\x8d\x94\x6e\xde\x44\x55\x86\x96\x6c\x20\x6f\x01\x4f\x1c\x60\x1c";
    /// `printf 'hello hello hello' | zstd -c`
    const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd\x04\x58\x65\x00\x00\x30\x68\x65\x6c\x6c\x6f\x20\x01\x00\x31\x4a\x11\xa2\xed\x1e\x0c";

    fn decode_all(coding: &str, bytes: &[u8]) -> Decoded {
        decode(&[coding.as_bytes()], bytes, true, 1000)
    }

    #[test]
    fn every_coding_is_undone() {
        for (coding, bytes) in [
            ("gzip", GZIP),
            ("X-GZIP", GZIP),
            ("deflate", ZLIB),
            ("deflate", DEFLATE),
            ("br", BROTLI),
            ("zstd", ZSTD),
        ] {
            let decoded = decode_all(coding, bytes);
            assert_eq!(decoded.bytes.as_deref(), Some(TEXT), "{coding}");
            assert_eq!(decoded.decoding, BodyDecoding::Decoded, "{coding}");
        }
    }

    #[test]
    fn codings_are_undone_last_first() {
        let decoded = decode(&[b"identity", b"gzip", b"identity"], GZIP, true, 1000);
        assert_eq!(decoded.bytes.as_deref(), Some(TEXT));
        // A gzip of a gzip is not here, so: what is left after one step is no gzip.
        assert_eq!(decode(&[b"gzip", b"gzip"], GZIP, true, 1000).decoding, BodyDecoding::Failed);
        let many: Vec<&[u8]> = vec![b"gzip"; 100];
        assert_eq!(decode(&many, GZIP, true, 1000).decoding, BodyDecoding::None);
    }

    #[test]
    fn what_is_cut_short_is_decoded_as_far_as_it_goes() {
        for (coding, bytes) in [("gzip", GZIP), ("deflate", ZLIB), ("deflate", DEFLATE)] {
            let cut = &bytes[..bytes.len() - 3];
            let decoded = decode(&[coding.as_bytes()], cut, false, 1000);
            assert_eq!(decoded.decoding, BodyDecoding::Partial, "{coding}");
            let bytes = decoded.bytes.unwrap();
            assert!(!bytes.is_empty() && TEXT.starts_with(&bytes), "{coding}");
        }
        for (coding, bytes) in [("br", BROTLI), ("zstd", ZSTD), ("gzip", GZIP)] {
            for length in 0..bytes.len() {
                let decoded = decode(&[coding.as_bytes()], &bytes[..length], false, 1000);
                assert_ne!(decoded.decoding, BodyDecoding::Decoded, "{coding}, {length} bytes");
                assert!(TEXT.starts_with(&decoded.bytes.unwrap_or_default()));
            }
        }
    }

    #[test]
    fn what_is_not_allowed_is_left_as_it_was_sent() {
        for coding in ["gzip", "br", "zstd", "deflate"] {
            let garbage = [0xffu8; 64];
            let decoded = decode_all(coding, &garbage);
            assert_eq!(
                decoded,
                Decoded { bytes: None, decoding: BodyDecoding::Failed },
                "{coding}"
            );
        }
        assert_eq!(decode_all("unheard-of", GZIP).decoding, BodyDecoding::None);
    }

    #[test]
    fn a_bomb_goes_off_within_the_limit() {
        use std::io::Write;
        let zeros = vec![0; 10 << 20];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&zeros).unwrap();
        let bomb = gzip.finish().unwrap();
        let decoded = decode(&[b"gzip"], &bomb, true, 1000);
        assert_eq!(decoded.decoding, BodyDecoding::Partial);
        assert_eq!(decoded.bytes.map(|bytes| bytes.len()), Some(1000));
    }
}
