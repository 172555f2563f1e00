//! The next message after a loss, by what only the start of one looks like.

use super::frame::{self, Command, LONGEST_START};
use memchr::memchr3_iter;

/// Looks for a start among bytes that come in pieces.
#[derive(Debug)]
pub(super) struct Search {
    look: fn(&[u8]) -> Look,
    /// What may be a start, and goes on beyond what is there. Shorter than [`LONGEST_START`].
    kept: Vec<u8>,
}

/// What is at the front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Start,
    Partial,
    No,
}

/// What a search came to.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Bytes that were passed over.
    pub(super) skipped: usize,
    /// The start's bytes that came before, when it was found: what is left of the new bytes
    /// follows on them.
    pub(super) start: Option<Vec<u8>>,
}

impl Search {
    /// For a command.
    pub(super) fn for_command() -> Self {
        Self { look: is_command, kept: Vec::new() }
    }

    /// For a message that answers no command. An answer cannot be told from an element of one.
    pub(super) fn for_push() -> Self {
        Self { look: is_push, kept: Vec::new() }
    }

    /// Takes bytes, up to a start or all of them.
    pub(super) fn advance(&mut self, bytes: &mut &[u8]) -> Found {
        let mut found = Found::default();
        if !self.kept.is_empty() && self.in_kept(bytes, &mut found) {
            return found;
        }
        for at in memchr3_iter(b'*', b'>', b'+', bytes) {
            let (before, rest) = bytes.split_at(at);
            match (self.look)(rest) {
                Look::No => continue,
                Look::Start => {
                    found.start = Some(Vec::new());
                    *bytes = rest;
                }
                Look::Partial => {
                    self.kept = rest.to_vec();
                    *bytes = &[];
                }
            }
            found.skipped += before.len();
            return found;
        }
        found.skipped += bytes.len();
        *bytes = &[];
        found
    }

    /// Looks for a start in what was kept. True when that is all for now.
    fn in_kept(&mut self, bytes: &mut &[u8], found: &mut Found) -> bool {
        let kept = self.kept.len();
        let mut window = std::mem::take(&mut self.kept);
        window.extend_from_slice(bytes.get(..LONGEST_START).unwrap_or(bytes));
        for at in 0..kept {
            let rest = window.get(at..).unwrap_or_default();
            match (self.look)(rest) {
                Look::No => {}
                Look::Start => {
                    found.skipped = at;
                    found.start = Some(window.get(at..kept).unwrap_or_default().to_vec());
                    return true;
                }
                Look::Partial => {
                    found.skipped = at;
                    self.kept = rest.to_vec();
                    *bytes = &[];
                    return true;
                }
            }
        }
        found.skipped = kept;
        false
    }

    /// Bytes that are kept.
    pub(super) fn kept(&self) -> usize {
        self.kept.len()
    }
}

fn is_command(bytes: &[u8]) -> Look {
    match frame::command(bytes) {
        Command::Named(..) => Look::Start,
        Command::Partial => Look::Partial,
        Command::No => Look::No,
    }
}

fn is_push(bytes: &[u8]) -> Look {
    match bytes.first() {
        Some(b'+') => is_monitored(bytes),
        Some(b'>') => match frame::named_aggregate(b'>', bytes) {
            Command::Named(..) => Look::Start,
            Command::Partial => Look::Partial,
            Command::No => Look::No,
        },
        _ => match frame::command(bytes) {
            Command::Named(b"message" | b"pmessage" | b"smessage", _) => Look::Start,
            Command::Partial => Look::Partial,
            _ => Look::No,
        },
    }
}

/// `+1339518083.107412 [`
fn is_monitored(bytes: &[u8]) -> Look {
    const PATTERN: &[u8] = b"+dddddddddd.dddddd [";
    let fits = PATTERN.iter().zip(bytes).all(|(pattern, byte)| match pattern {
        b'd' => byte.is_ascii_digit(),
        pattern => pattern == byte,
    });
    match fits {
        false => Look::No,
        true if bytes.len() >= PATTERN.len() => Look::Start,
        true => Look::Partial,
    }
}

/// Whether a line is one that `MONITOR` tells, without its `+`.
pub(super) fn is_monitor_line(text: &[u8]) -> bool {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    digits >= 10 && text.get(digits) == Some(&b'.') && memchr::memmem::find(text, b" [").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is passed over, and the start with what follows it.
    fn search(mut search: Search, bytes: &[u8], piece: usize) -> (usize, Option<Vec<u8>>) {
        let mut skipped = 0;
        for (number, mut piece_left) in bytes.chunks(piece).enumerate() {
            let found = search.advance(&mut piece_left);
            skipped += found.skipped;
            if let Some(mut start) = found.start {
                start.extend_from_slice(piece_left);
                start.extend(bytes.chunks(piece).skip(number + 1).flatten());
                return (skipped, Some(start));
            }
        }
        (skipped, None)
    }

    #[test]
    fn a_command_is_found_however_it_is_cut() {
        let bytes = b"junk * *1\r\n *12\r\n$4\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
        for piece in 1..=bytes.len() {
            let (skipped, start) = search(Search::for_command(), bytes, piece);
            assert_eq!(skipped, 21, "{piece}");
            assert_eq!(start.as_deref(), bytes.get(21..), "{piece}");
        }
    }

    #[test]
    fn only_what_answers_no_command_is_found_among_answers() {
        let junk = b"+OK\r\n*2\r\n$3\r\nfoo\r\n>3\r\n:1\r\n";
        for push in [
            &b">2\r\n$10\r\ninvalidate\r\n"[..],
            b"*3\r\n$7\r\nmessage\r\n",
            b"+1339518083.107412 [0",
        ] {
            let bytes = [&junk[..], push].concat();
            for piece in 1..=bytes.len() {
                let (skipped, start) = search(Search::for_push(), &bytes, piece);
                assert_eq!((skipped, start.as_deref()), (junk.len(), Some(push)), "{piece}");
            }
        }
    }
}
