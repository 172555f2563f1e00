//! The lines that values begin with: pure decoding (<https://redis.io/docs/latest/develop/reference/protocol-spec/>).

use pixie_core::record::RedisType;

/// The longest string that is believed, in bytes. The server's own limit is 512 MiB unless its
/// `proto-max-bulk-len` says otherwise.
pub(super) const MAX_STRING: u64 = 4 << 30;

/// The most elements that are believed (a server takes no more than 2^31 - 1).
const MAX_ELEMENTS: u64 = (1 << 31) - 1;

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Line<'a> {
    /// `+`, `-` or `(`: a value of this type, with this text.
    Text(RedisType, &'a [u8]),
    /// `:`
    Integer(i64),
    /// `,`
    Double(f64),
    /// `#`
    Boolean(bool),
    /// `_`, or a length of -1.
    Null,
    /// `$`, `!` or `=`: a string of so many bytes follows.
    String(RedisType, u64),
    /// `$?`: a string in chunks follows.
    StreamedString,
    /// `;`: a chunk of so many bytes follows; none after one of 0.
    Chunk(u64),
    /// `*`, `~`, `>` or `%`: an aggregate follows, of so many elements or, for a map, pairs.
    Aggregate(RedisType, u64),
    /// The same, up to a `.`.
    StreamedAggregate(RedisType),
    /// `|`: so many pairs about the value that comes after them.
    Attributes(u64),
    /// `.`: a streamed aggregate ends.
    End,
}

/// A line without its end; `None` when it is not one of RESP2 or RESP3.
#[inline]
pub(super) fn line(content: &[u8]) -> Option<Line<'_>> {
    let (first, rest) = content.split_first()?;
    Some(match first {
        b'$' | b'!' | b'=' => {
            let kind = match first {
                b'$' => RedisType::Bulk,
                b'!' => RedisType::BulkError,
                _ => RedisType::Verbatim,
            };
            match rest {
                b"-1" => Line::Null,
                b"?" if kind == RedisType::Bulk => Line::StreamedString,
                digits => Line::String(kind, number(digits, MAX_STRING)?),
            }
        }
        b'+' => Line::Text(RedisType::Simple, rest),
        b':' => Line::Integer(integer(rest)?),
        b'*' | b'~' | b'>' | b'%' => {
            let kind = match first {
                b'*' => RedisType::Array,
                b'~' => RedisType::Set,
                b'>' => RedisType::Push,
                _ => RedisType::Map,
            };
            match rest {
                b"-1" => Line::Null,
                b"?" => Line::StreamedAggregate(kind),
                digits => Line::Aggregate(kind, number(digits, MAX_ELEMENTS)?),
            }
        }
        b'-' => Line::Text(RedisType::Error, rest),
        b'_' if rest.is_empty() => Line::Null,
        b'#' => match rest {
            b"t" => Line::Boolean(true),
            b"f" => Line::Boolean(false),
            _ => return None,
        },
        b',' => Line::Double(std::str::from_utf8(rest).ok()?.parse().ok()?),
        b'(' if is_number(rest) => Line::Text(RedisType::BigNumber, rest),
        b';' => Line::Chunk(number(rest, MAX_STRING)?),
        b'|' => Line::Attributes(number(rest, MAX_ELEMENTS)?),
        b'.' if rest.is_empty() => Line::End,
        _ => return None,
    })
}

/// Digits and nothing else, of a number up to `most`.
#[inline]
pub(super) fn number(digits: &[u8], most: u64) -> Option<u64> {
    // Twelve digits cannot overflow, and are more than any length has.
    if digits.is_empty() || digits.len() > 12 {
        return None;
    }
    let mut number = 0;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + u64::from(digit);
    }
    (number <= most).then_some(number)
}

fn integer(text: &[u8]) -> Option<i64> {
    match number(text, u64::MAX) {
        Some(number) => i64::try_from(number).ok(),
        None => std::str::from_utf8(text).ok()?.parse().ok(),
    }
}

fn is_number(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// A line without its end: LF, or CR LF.
#[inline]
pub(super) fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// What a command begins with, where it is sent as an array of strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    /// Its name, as sent, and where the name's line ends.
    Named(&'a [u8], usize),
    /// It goes on beyond what is there.
    Partial,
    /// It is none.
    No,
}

/// The longest start of a command that [`command`] takes for one: `*2147483647`, `$64` and a name.
pub(super) const LONGEST_START: usize = 13 + 5 + MAX_NAME + 2;

/// The longest name of a command.
pub(super) const MAX_NAME: usize = 64;

/// Looks for the start of a command at the front of `bytes`: the lengths of the array and of its
/// first string, both more than 0, and a name that is as long.
pub(super) fn command(bytes: &[u8]) -> Command<'_> {
    named_aggregate(b'*', bytes)
}

/// The same for any aggregate that begins with a word.
pub(super) fn named_aggregate(first: u8, bytes: &[u8]) -> Command<'_> {
    let rest = match bytes.split_first() {
        Some((byte, rest)) if *byte == first => rest,
        Some(_) => return Command::No,
        None => return Command::Partial,
    };
    let rest = match counted_line(rest, 10) {
        Counted::Is(count, rest) if (1..=MAX_ELEMENTS).contains(&count) => rest,
        Counted::Partial => return Command::Partial,
        _ => return Command::No,
    };
    let Some((b'$', rest)) = rest.split_first() else {
        return if rest.is_empty() { Command::Partial } else { Command::No };
    };
    let (length, rest) = match counted_line(rest, 2) {
        Counted::Is(length, rest) if (1..=MAX_NAME as u64).contains(&length) => (length, rest),
        Counted::Partial => return Command::Partial,
        _ => return Command::No,
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let name = rest.get(..length).unwrap_or(rest);
    let end = rest.get(length..).unwrap_or_default();
    if !is_name(name) {
        Command::No
    } else if end.starts_with(b"\r\n") {
        Command::Named(name, bytes.len() - end.len() + 2)
    } else if b"\r\n".starts_with(end) {
        Command::Partial
    } else {
        Command::No
    }
}

/// Whether a command can have this name: letters and, in those of modules and of subcommands that
/// were renamed, some others.
pub(super) fn is_name(name: &[u8]) -> bool {
    let is_allowed =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'|');
    name.first().is_none_or(u8::is_ascii_alphabetic) && name.iter().all(is_allowed)
}

pub(super) enum Counted<'a> {
    /// The number, and what follows its line.
    Is(u64, &'a [u8]),
    Partial,
    No,
}

/// A line of at most so many digits, with CR LF.
pub(super) fn counted_line(bytes: &[u8], most: usize) -> Counted<'_> {
    let digits = bytes.iter().take(most + 1).take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = bytes.split_at(digits);
    if digits.len() > most {
        return Counted::No;
    }
    match (number(digits, u64::MAX), rest.strip_prefix(b"\r\n")) {
        (Some(number), Some(rest)) => Counted::Is(number, rest),
        (None, _) if !rest.is_empty() => Counted::No,
        _ if b"\r\n".starts_with(rest) => Counted::Partial,
        _ => Counted::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_both_versions_is_known() {
        let lines: &[(&[u8], Line<'_>)] = &[
            (b"+OK", Line::Text(RedisType::Simple, b"OK")),
            (b"-ERR no", Line::Text(RedisType::Error, b"ERR no")),
            (b":-12", Line::Integer(-12)),
            (b":9223372036854775807", Line::Integer(i64::MAX)),
            (b"$5", Line::String(RedisType::Bulk, 5)),
            (b"$-1", Line::Null),
            (b"*-1", Line::Null),
            (b"*2", Line::Aggregate(RedisType::Array, 2)),
            (b"_", Line::Null),
            (b",1.5", Line::Double(1.5)),
            (b",-inf", Line::Double(f64::NEG_INFINITY)),
            (b"#t", Line::Boolean(true)),
            (b"!21", Line::String(RedisType::BulkError, 21)),
            (b"=15", Line::String(RedisType::Verbatim, 15)),
            (
                b"(-3492890328409238509324",
                Line::Text(RedisType::BigNumber, b"-3492890328409238509324"),
            ),
            (b"%2", Line::Aggregate(RedisType::Map, 2)),
            (b"~5", Line::Aggregate(RedisType::Set, 5)),
            (b"|1", Line::Attributes(1)),
            (b">3", Line::Aggregate(RedisType::Push, 3)),
            (b"$?", Line::StreamedString),
            (b";4", Line::Chunk(4)),
            (b"*?", Line::StreamedAggregate(RedisType::Array)),
            (b".", Line::End),
        ];
        for (text, expected) in lines {
            assert_eq!(line(text), Some(*expected), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        let lines: &[&[u8]] = &[
            b"",
            b"OK",
            b"$",
            b"$-2",
            b"$x",
            b"$99999999999",
            b"$99999999999999999999",
            b"*-2",
            b"*+1",
            b"*2147483648",
            b":",
            b":1x",
            b":9223372036854775808",
            b"#",
            b"#x",
            b"_x",
            b"(",
            b"(x",
            b",",
            b",x",
            b";",
            b"..",
            b"%-2",
            b"!?",
        ];
        for text in lines {
            assert_eq!(line(text), None, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_command_is_known_by_its_start() {
        let start = b"*2\r\n$3\r\nGET\r\n";
        assert_eq!(command(start), Command::Named(b"GET", start.len()));
        for length in 0..start.len() {
            assert_eq!(command(&start[..length]), Command::Partial, "{length}");
        }
        let others: &[&[u8]] = &[
            b"*0\r\n",
            b"*2\n",
            b"*2\r\n:",
            b"*2\r\n$0\r\n",
            b"*2\r\n$65\r\n",
            b"*2\r\n$3\r\nG T",
            b"*2\r\n$3\r\nGETX",
            b"*12345678901",
            b"*2\r\n$123",
            b"* OK",
            b"*99999999999\r\n",
        ];
        for bytes in others {
            assert_eq!(command(bytes), Command::No, "{}", bytes.escape_ascii());
        }
        let longest = [&b"*2147483647\r\n$64\r\n"[..], &[b'A'; 64], b"\r\n"].concat();
        assert_eq!(command(&longest), Command::Named(&[b'A'; 64], LONGEST_START));
    }
}
