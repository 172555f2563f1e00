//! The chunked transfer coding (RFC 9112, section 7.1): pure decoding, resumable anywhere.

use super::frame::{FieldsDecoder, Progress};
use memchr::memchr;
use pixie_core::record::Headers;

/// The most bytes of extensions after a chunk's size. Nobody uses them; more is an attack or not
/// chunked at all.
const MAX_EXTENSION: usize = 16 << 10;

/// Decodes one chunked body.
#[derive(Debug)]
pub(super) struct ChunkedDecoder {
    state: State,
    trailers: FieldsDecoder,
    /// The trailer section so far.
    section: Vec<u8>,
    /// The most bytes of a trailer section.
    limit: usize,
}

#[derive(Debug)]
enum State {
    /// In the digits of a size.
    Size { size: u64, digits: bool },
    /// After them, up to the end of the line.
    Extension { size: u64, length: usize },
    /// In a chunk.
    Data { remaining: u64 },
    /// After a chunk, before its line end.
    DataEnd { carriage_return: bool },
    /// After the last chunk.
    Trailers,
}

/// What comes next in a chunked body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunk<'a> {
    /// Bytes of the body.
    Data(&'a [u8]),
    /// The body's end.
    End,
    /// It goes on beyond what is there.
    Partial,
    /// What follows is not what the coding allows.
    Malformed,
    /// The trailer section is larger than the limit.
    TooLarge,
}

/// What a gap did to a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stepped {
    /// The gap lay in a chunk, up to its line end at most: decoding goes on.
    Within,
    /// It reached exactly over the end of a chunk and that of the body.
    End,
    /// The size of what follows is lost: there is nothing to decode any more.
    Lost,
}

impl ChunkedDecoder {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            state: State::Size { size: 0, digits: false },
            trailers: FieldsDecoder::with_capacity(0),
            section: Vec::new(),
            limit,
        }
    }

    /// Decodes the next piece off the front of `bytes`.
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Chunk<'a> {
        loop {
            if let (State::Data { remaining }, false) = (&mut self.state, bytes.is_empty()) {
                let length = usize::try_from(*remaining).unwrap_or(usize::MAX).min(bytes.len());
                let (data, rest) = bytes.split_at(length);
                *bytes = rest;
                *remaining -= length as u64;
                if *remaining == 0 {
                    self.state = State::DataEnd { carriage_return: false };
                }
                return Chunk::Data(data);
            }
            if matches!(self.state, State::Trailers) {
                return self.trailers(bytes);
            }
            let Some((&byte, rest)) = bytes.split_first() else { return Chunk::Partial };
            match self.framing(byte) {
                Some(state) => self.state = state,
                None => return Chunk::Malformed,
            }
            *bytes = rest;
        }
    }

    /// The state after one more byte of framing.
    fn framing(&self, byte: u8) -> Option<State> {
        match (&self.state, byte) {
            (&State::Size { size, .. }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = u64::from((byte as char).to_digit(16)?);
                let size = size.checked_mul(16)?.checked_add(digit)?;
                Some(State::Size { size, digits: true })
            }
            (&State::Size { size, digits: true }, b';' | b' ' | b'\t' | b'\r') => {
                Some(State::Extension { size, length: 0 })
            }
            (&State::Size { size, digits: true } | &State::Extension { size, .. }, b'\n') => {
                Some(match size {
                    0 => State::Trailers,
                    remaining => State::Data { remaining },
                })
            }
            (&State::Extension { size, length }, _) if length < MAX_EXTENSION => {
                Some(State::Extension { size, length: length + 1 })
            }
            (State::DataEnd { carriage_return: false }, b'\r') => {
                Some(State::DataEnd { carriage_return: true })
            }
            (State::DataEnd { .. }, b'\n') => Some(State::Size { size: 0, digits: false }),
            _ => None,
        }
    }

    /// Takes trailer lines, one at a time, so that nothing beyond the body is consumed.
    fn trailers<'a>(&mut self, bytes: &mut &'a [u8]) -> Chunk<'a> {
        loop {
            if bytes.is_empty() {
                return Chunk::Partial;
            }
            let line_end = memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
            if self.section.len() + line_end > self.limit {
                return Chunk::TooLarge;
            }
            let (line, rest) = bytes.split_at(line_end);
            *bytes = rest;
            self.section.extend_from_slice(line);
            match self.trailers.advance(&self.section) {
                Ok(Progress::Complete(_)) => return Chunk::End,
                Ok(Progress::Partial) => {}
                Err(_) => return Chunk::Malformed,
            }
        }
    }

    /// Steps over bytes that are not there; `within` of them are of the body.
    pub(super) fn gap(&mut self, length: u64) -> (u64, Stepped) {
        let State::Data { remaining } = &mut self.state else { return (0, Stepped::Lost) };
        let within = length.min(*remaining);
        *remaining -= within;
        let stepped = match length - within {
            0 if *remaining > 0 => Stepped::Within,
            0 => {
                self.state = State::DataEnd { carriage_return: false };
                Stepped::Within
            }
            // Capture stops at the end of a transfer, so a gap does, too: most often after the line
            // end of a chunk, or after the end of the body, CR LF 0 CR LF CR LF.
            2 => {
                self.state = State::Size { size: 0, digits: false };
                Stepped::Within
            }
            7 => Stepped::End,
            _ => Stepped::Lost,
        };
        (within, stepped)
    }

    /// The trailer fields of a body that has ended.
    pub(super) fn finish(self) -> Headers {
        if self.section.len() <= 2 {
            return Headers::default();
        }
        self.trailers.finish(self.section)
    }

    /// The lines of a trailer section that are not decoded, when it was given up.
    pub(super) fn into_unread(mut self) -> Vec<u8> {
        self.section.split_off(self.trailers.at().min(self.section.len()))
    }

    /// Bytes of memory that are held.
    pub(super) fn memory(&self) -> usize {
        self.section.len()
    }
}
