//! Whether bytes are of Redis.

use super::commands;
use super::frame::{self, Command, Counted, counted_line};
use crate::parser::{PROBE_LIMIT, Verdict};
use memchr::memchr;

/// The first bytes of a connection, or of a message on one.
pub(super) fn probe(bytes: &[u8]) -> Verdict {
    match bytes.first() {
        None => Verdict::NeedMore,
        Some(b'*') => array(bytes),
        Some(b'$') => string(bytes),
        Some(b'>') => named(frame::named_aggregate(b'>', bytes), |_| Verdict::Reversed),
        // The answer to `HELLO 3`.
        Some(b'%') => named(frame::named_aggregate(b'%', bytes), |name| match name {
            b"server" => Verdict::Reversed,
            _ => Verdict::No,
        }),
        Some(byte) if byte.is_ascii_alphabetic() => inline(bytes),
        Some(_) => Verdict::No,
    }
}

fn named(start: Command<'_>, verdict: impl Fn(&[u8]) -> Verdict) -> Verdict {
    match start {
        Command::Named(name, _) => verdict(name),
        Command::Partial => Verdict::NeedMore,
        Command::No => Verdict::No,
    }
}

/// A command is an array of strings; so may an answer be.
fn array(bytes: &[u8]) -> Verdict {
    match frame::command(bytes) {
        Command::Named(name, end) if is_command(name, bytes) => {
            let rest = bytes.get(end..).unwrap_or_default();
            // A confirmation of a subscription has three elements, the last a number.
            match bytes.starts_with(b"*3\r\n") && is_subscription(name) {
                true => subscription(rest),
                false if bytes.starts_with(b"*1\r\n") => Verdict::Yes,
                false => match rest.first() {
                    Some(b'$') => Verdict::Yes,
                    // A command has strings only.
                    Some(_) => Verdict::No,
                    None => Verdict::NeedMore,
                },
            }
        }
        Command::Named(b"message" | b"pmessage" | b"smessage", _) => Verdict::Reversed,
        Command::Named(..) | Command::No => Verdict::No,
        Command::Partial => Verdict::NeedMore,
    }
}

/// Whether the array can be a command of this name.
fn is_command(name: &[u8], bytes: &[u8]) -> bool {
    let strings = match counted_line(bytes.get(1..).unwrap_or_default(), 10) {
        Counted::Is(strings, _) => strings,
        _ => 0,
    };
    commands::is_known(name) && commands::can_have(name, strings)
}

fn is_subscription(name: &[u8]) -> bool {
    let end = name.len().checked_sub(b"subscribe".len()).and_then(|start| name.get(start..));
    end.is_some_and(|end| end.eq_ignore_ascii_case(b"subscribe"))
}

/// What follows the name: a channel and another, or a channel and how many subscriptions there are.
fn subscription(rest: &[u8]) -> Verdict {
    let Some((b'$', channel)) = rest.split_first() else {
        return if rest.is_empty() { Verdict::NeedMore } else { Verdict::No };
    };
    let after = match counted_line(channel, 10) {
        Counted::Is(length, channel) => match usize::try_from(length) {
            Ok(length) if length < PROBE_LIMIT => channel.get(length + 2..).unwrap_or_default(),
            _ => return Verdict::No,
        },
        // There was none.
        _ if channel.starts_with(b"-1\r\n") => return Verdict::Reversed,
        _ if b"-1\r\n".starts_with(channel) => return Verdict::NeedMore,
        Counted::Partial => return Verdict::NeedMore,
        Counted::No => return Verdict::No,
    };
    match after.first() {
        Some(b':') => Verdict::Reversed,
        Some(b'$') => Verdict::Yes,
        Some(_) => Verdict::No,
        None => Verdict::NeedMore,
    }
}

/// A string as an answer: nobody else counts like this.
fn string(bytes: &[u8]) -> Verdict {
    const NULL: &[u8] = b"$-1\r\n";
    if bytes.starts_with(NULL) {
        return Verdict::Reversed;
    }
    if NULL.starts_with(bytes) {
        return Verdict::NeedMore;
    }
    let (length, rest) = match counted_line(bytes.get(1..).unwrap_or_default(), 10) {
        Counted::Is(length, rest) => (length, rest),
        Counted::Partial => return Verdict::NeedMore,
        Counted::No => return Verdict::No,
    };
    let Some(length) = usize::try_from(length).ok().filter(|length| *length < PROBE_LIMIT) else {
        return Verdict::No;
    };
    match rest.get(length..) {
        None => Verdict::NeedMore,
        Some([b'\r', b'\n', ..]) => Verdict::Reversed,
        Some([] | [b'\r']) => Verdict::NeedMore,
        Some(_) => Verdict::No,
    }
}

/// A line with a command's name that other protocols do not have, and arguments.
fn inline(bytes: &[u8]) -> Verdict {
    let line_end = memchr(b'\n', bytes);
    let line = bytes.get(..line_end.unwrap_or(bytes.len())).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let name_end = memchr(b' ', line);
    let name = line.get(..name_end.unwrap_or(line.len())).unwrap_or_default();
    let is_whole = name_end.is_some() || line_end.is_some();
    let is_text = line.iter().all(|byte| !byte.is_ascii_control() || *byte == b'\t');
    match commands::unmistakable(name, is_whole) && is_text {
        false => Verdict::No,
        true if line_end.is_some() => Verdict::Yes,
        true => Verdict::NeedMore,
    }
}
