//! Lines and counted strings, however they are cut.

use memchr::memchr;
use std::borrow::Cow;

/// Takes one direction apart.
#[derive(Debug)]
pub(super) struct Reader {
    state: State,
    /// A line of which the end has not come yet.
    partial: Vec<u8>,
    /// The longest line, in bytes.
    limit: usize,
    /// Bytes of the message under way so far.
    wire: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Line,
    /// In a string.
    String {
        remaining: u64,
    },
    /// In the CR LF after one; so many bytes of it are still to come.
    StringEnd {
        remaining: u8,
    },
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A line, with its end.
    Line(Cow<'a, [u8]>),
    /// Bytes of a string.
    Bytes(&'a [u8]),
    /// The string's end.
    End,
    /// It goes on beyond what is there.
    Partial,
    /// What follows a string is not its end.
    Malformed,
    /// The line is longer than the limit.
    TooLong,
}

/// What a gap did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stepped {
    /// It lay within the string that is under way.
    Within { bytes: u64 },
    /// It reached up to the very end of that string.
    End { bytes: u64 },
    /// It reached beyond that end: the string is over, and what follows is lost.
    Beyond { bytes: u64 },
    /// A line was in it, or more.
    Lost,
}

impl Reader {
    pub(super) fn new(limit: usize) -> Self {
        Self { state: State::Line, partial: Vec::new(), limit: limit.max(64), wire: 0 }
    }

    /// Takes the next piece off the front of `bytes`.
    #[inline]
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Piece<'a> {
        match &mut self.state {
            State::Line => self.line(bytes),
            State::String { remaining } => {
                let length = usize::try_from(*remaining).unwrap_or(usize::MAX).min(bytes.len());
                if length == 0 {
                    return Piece::Partial;
                }
                *remaining -= length as u64;
                if *remaining == 0 {
                    self.state = State::StringEnd { remaining: 2 };
                }
                Piece::Bytes(self.take(bytes, length))
            }
            State::StringEnd { .. } => self.string_end(bytes),
        }
    }

    #[inline]
    fn line<'a>(&mut self, bytes: &mut &'a [u8]) -> Piece<'a> {
        let room = self.limit - self.partial.len();
        let window = bytes.get(..room).unwrap_or(bytes);
        match line_end(window) {
            Some(length) if self.partial.is_empty() => {
                Piece::Line(Cow::Borrowed(self.take(bytes, length)))
            }
            Some(length) => {
                let end = self.take(bytes, length);
                self.partial.extend_from_slice(end);
                Piece::Line(Cow::Owned(std::mem::take(&mut self.partial)))
            }
            None => {
                let is_too_long = window.len() == room;
                let start = self.take(bytes, window.len());
                if is_too_long {
                    self.partial = Vec::new();
                    return Piece::TooLong;
                }
                self.partial.extend_from_slice(start);
                Piece::Partial
            }
        }
    }

    fn string_end<'a>(&mut self, bytes: &mut &'a [u8]) -> Piece<'a> {
        while let (State::StringEnd { remaining }, Some(byte)) = (&mut self.state, bytes.first()) {
            let expected = if *remaining == 2 { b'\r' } else { b'\n' };
            if *byte != expected {
                return Piece::Malformed;
            }
            *remaining -= 1;
            let is_over = *remaining == 0;
            self.take(bytes, 1);
            if is_over {
                self.state = State::Line;
                return Piece::End;
            }
        }
        Piece::Partial
    }

    /// A string of this length follows. Its bytes, when all of them and its end are there already;
    /// otherwise they come piece by piece.
    #[inline]
    pub(super) fn string<'a>(&mut self, length: u64, bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
        let whole = usize::try_from(length).ok().and_then(|length| length.checked_add(2));
        if let Some((string, b"\r\n")) =
            whole.and_then(|whole| bytes.get(..whole)).and_then(<[u8]>::split_last_chunk)
        {
            self.take(bytes, string.len() + 2);
            return Some(string);
        }
        self.state = match length {
            0 => State::StringEnd { remaining: 2 },
            remaining => State::String { remaining },
        };
        None
    }

    /// Steps over bytes that are not there.
    pub(super) fn gap(&mut self, length: u64) -> Stepped {
        let (string, end) = match self.state {
            State::Line => return Stepped::Lost,
            State::String { remaining } => (remaining, 2),
            State::StringEnd { remaining } => (0, remaining),
        };
        let bytes = length.min(string);
        let of_end = u64::from(end).min(length - bytes);
        self.wire += bytes + of_end;
        if length - bytes < u64::from(end) {
            self.state = match string - bytes {
                0 => State::StringEnd { remaining: end - of_end as u8 },
                remaining => State::String { remaining },
            };
            return Stepped::Within { bytes };
        }
        self.state = State::Line;
        if length - bytes == of_end { Stepped::End { bytes } } else { Stepped::Beyond { bytes } }
    }

    /// Bytes of the message under way so far. From here on those of the next one are counted.
    #[inline]
    pub(super) fn take_wire(&mut self) -> u64 {
        std::mem::take(&mut self.wire)
    }

    /// Begins anew at the start of a line; returns what was held of the last one.
    pub(super) fn reset(&mut self) -> Vec<u8> {
        self.state = State::Line;
        self.wire = 0;
        std::mem::take(&mut self.partial)
    }

    /// Bytes of memory that are held.
    pub(super) fn memory(&self) -> usize {
        self.partial.capacity()
    }

    #[inline]
    fn take<'a>(&mut self, bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
        let (taken, rest) = bytes.split_at(length.min(bytes.len()));
        self.wire += taken.len() as u64;
        *bytes = rest;
        taken
    }
}

/// Where the first line ends. Most are a few bytes long.
#[inline]
fn line_end(bytes: &[u8]) -> Option<usize> {
    const SHORT: usize = 8;
    let short = bytes.get(..SHORT).unwrap_or(bytes);
    match short.iter().position(|byte| *byte == b'\n') {
        Some(at) => Some(at + 1),
        None => memchr(b'\n', bytes.get(SHORT..)?).map(|at| SHORT + at + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_comes_in_pieces() {
        let mut reader = Reader::new(100);
        assert_eq!(reader.next(&mut &b"$5\r"[..]), Piece::Partial);
        let mut bytes: &[u8] = b"\nab";
        assert_eq!(reader.next(&mut bytes), Piece::Line(Cow::Borrowed(b"$5\r\n")));
        assert_eq!(reader.string(5, &mut bytes), None);
        assert_eq!(reader.next(&mut bytes), Piece::Bytes(b"ab"));
        assert_eq!(reader.next(&mut bytes), Piece::Partial);
        let mut bytes: &[u8] = b"cde\r";
        assert_eq!(reader.next(&mut bytes), Piece::Bytes(b"cde"));
        assert_eq!(reader.next(&mut bytes), Piece::Partial);
        assert_eq!(reader.next(&mut &b"\n"[..]), Piece::End);
        assert_eq!(reader.take_wire(), 11);
    }

    #[test]
    fn gaps_are_stepped_over_in_strings_only() {
        let mut reader = Reader::new(100);
        assert_eq!(reader.gap(1), Stepped::Lost);
        for (gap, expected) in [
            (9, Stepped::Within { bytes: 9 }),
            (10, Stepped::Within { bytes: 10 }),
            (11, Stepped::Within { bytes: 10 }),
            (12, Stepped::End { bytes: 10 }),
            (13, Stepped::Beyond { bytes: 10 }),
        ] {
            reader.string(10, &mut &b""[..]);
            assert_eq!(reader.gap(gap), expected);
        }
        reader.string(3, &mut &b""[..]);
        assert_eq!(reader.gap(4), Stepped::Within { bytes: 3 });
        assert_eq!(reader.next(&mut &b"\n"[..]), Piece::End);
    }

    #[test]
    fn a_line_has_its_limit() {
        let mut reader = Reader::new(64);
        let mut bytes: &[u8] = &[b'+'; 100];
        assert_eq!(reader.next(&mut bytes), Piece::TooLong);
        assert_eq!(bytes.len(), 36);
        assert_eq!(reader.next(&mut bytes), Piece::Partial);
        assert_eq!(reader.next(&mut &[b'+'; 28][..]), Piece::TooLong);
    }
}
