//! SQL statements without what they say about people: their literals.

use std::borrow::Cow;

/// What stands where a literal was.
const PLACE: u8 = b'?';

/// How literals are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "a dialect is used by the records of its protocol")]
pub(super) enum Dialect {
    /// `"name"`, `E'\n'`, `$tag$text$tag$`, `$1` is a parameter, comments nest.
    Postgres,
    /// `` `name` ``, `"text"`, backslashes in all strings, `#` begins a comment, `/*! */` does not.
    MySql,
    /// `"name"`, `$$text$$`, bare UUIDs, `//` begins a comment.
    Cql,
}

/// The statement with `?` in place of every string, number and other literal, and without comments,
/// which can say anything.
///
/// It need not be complete: a literal that was cut short goes, too. In doubt, more goes than must.
pub(super) fn without_literals(statement: &[u8], dialect: Dialect) -> Vec<u8> {
    let mut output = Vec::with_capacity(statement.len());
    let mut rest = statement;
    while let Some(&byte) = rest.first() {
        let (token, length) = token(rest, byte, dialect);
        let (text, following) = rest.split_at(length.clamp(1, rest.len()));
        match token {
            Token::Kept => output.extend_from_slice(text),
            Token::Literal => output.push(PLACE),
            // Words on both sides stay apart.
            Token::Comment => output.push(b' '),
        }
        rest = following;
    }
    output
}

/// A message of a server without what it quotes, which may be a value.
pub(super) fn without_quoted(message: &[u8]) -> Cow<'_, [u8]> {
    if !message.contains(&b'"') {
        return Cow::Borrowed(message);
    }
    let mut output = Vec::with_capacity(message.len());
    let mut parts = message.split(|&byte| byte == b'"');
    output.extend_from_slice(parts.next().unwrap_or_default());
    while let Some(_quoted) = parts.next() {
        output.extend_from_slice(b"\"?\"");
        output.extend_from_slice(parts.next().unwrap_or_default());
    }
    Cow::Owned(output)
}

/// What a piece of a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Kept,
    Literal,
    Comment,
}

/// The token that begins with `byte`, and its length.
fn token(rest: &[u8], byte: u8, dialect: Dialect) -> (Token, usize) {
    let second = rest.get(1).copied();
    match byte {
        b'\'' => (Token::Literal, quoted(rest, 0, b'\'', dialect == Dialect::MySql)),
        b'"' if dialect == Dialect::MySql => (Token::Literal, quoted(rest, 0, b'"', true)),
        b'"' | b'`' => (Token::Kept, quoted(rest, 0, byte, false)),
        b'-' if second == Some(b'-') => (Token::Comment, line(rest)),
        b'#' if dialect == Dialect::MySql => (Token::Comment, line(rest)),
        b'/' if dialect == Dialect::Cql && second == Some(b'/') => (Token::Comment, line(rest)),
        // What stands in it is run.
        b'/' if dialect == Dialect::MySql && rest.starts_with(b"/*!") => (Token::Kept, 3),
        b'/' if second == Some(b'*') => (Token::Comment, block_comment(rest, dialect)),
        b'$' if dialect != Dialect::MySql => dollar(rest),
        b'.' if second.is_some_and(|byte| byte.is_ascii_digit()) => (Token::Literal, number(rest)),
        _ if dialect == Dialect::Cql && is_uuid(rest) => (Token::Literal, 36),
        b'0'..=b'9' => (Token::Literal, number(rest)),
        _ if is_word(byte) => word(rest, dialect),
        _ => (Token::Kept, 1),
    }
}

/// A word, which may say how the string behind it is written.
fn word(rest: &[u8], dialect: Dialect) -> (Token, usize) {
    let length = rest.iter().take_while(|&&byte| is_word(byte) || byte == b'$').count();
    let is_escaped = matches!(rest, [b'e' | b'E', b'\'', ..]) && dialect == Dialect::Postgres;
    if is_escaped {
        return (Token::Literal, quoted(rest, 1, b'\'', true));
    }
    let is_prefix = matches!(rest, [b'b' | b'B' | b'x' | b'X' | b'n' | b'N', b'\'', ..]);
    if is_prefix {
        return (Token::Literal, quoted(rest, 1, b'\'', dialect == Dialect::MySql));
    }
    (Token::Kept, length)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The length of what is quoted from `start` on, to its closing quote or the end. A doubled quote
/// stands for one.
fn quoted(rest: &[u8], start: usize, quote: u8, backslashes: bool) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = rest.get(at) {
        if byte == b'\\' && backslashes {
            at += 2;
        } else if byte != quote {
            at += 1;
        } else if rest.get(at + 1) == Some(&quote) {
            at += 2;
        } else {
            return at + 1;
        }
    }
    rest.len()
}

fn line(rest: &[u8]) -> usize {
    rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len())
}

/// The length of a comment. PostgreSQL's nest.
fn block_comment(rest: &[u8], dialect: Dialect) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(pair) = rest.get(at..at + 2) {
        match pair {
            b"/*" if depth == 0 || dialect == Dialect::Postgres => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// A string between `$tag$` and `$tag$`, or a parameter.
fn dollar(rest: &[u8]) -> (Token, usize) {
    let after = rest.get(1..).unwrap_or_default();
    let tag = after.iter().take_while(|&&byte| is_word(byte)).count();
    let is_parameter = after.first().is_some_and(u8::is_ascii_digit);
    if is_parameter || after.get(tag) != Some(&b'$') {
        return (Token::Kept, 1 + tag);
    }
    let (delimiter, text) = rest.split_at((tag + 2).min(rest.len()));
    let end = text.windows(delimiter.len()).position(|window| window == delimiter);
    let end = end.map(|end| end + 2 * delimiter.len());
    (Token::Literal, end.unwrap_or(rest.len()))
}

/// The length of a number: decimal, hexadecimal, with an exponent, with what follows it directly.
fn number(rest: &[u8]) -> usize {
    let mut before = 0;
    let part_of_number = |&&byte: &&u8| {
        let is_sign = matches!(byte, b'+' | b'-') && matches!(before, b'e' | b'E');
        before = byte;
        is_word(byte) || byte == b'.' || is_sign
    };
    rest.iter().take_while(part_of_number).count()
}

/// Whether this begins with a UUID: hexadecimal digits in groups of 8, 4, 4, 4 and 12.
fn is_uuid(rest: &[u8]) -> bool {
    let Some(text) = rest.get(..36) else { return false };
    let fits = |(place, byte): (usize, &u8)| match place {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    text.iter().enumerate().all(fits) && !rest.get(36).is_some_and(|byte| is_word(*byte))
}

#[cfg(test)]
mod tests {
    use super::{Dialect, without_literals, without_quoted};

    #[track_caller]
    fn assert_redacted(dialect: Dialect, statement: &str, expected: &str) {
        let redacted = without_literals(statement.as_bytes(), dialect);
        assert_eq!(String::from_utf8(redacted).unwrap(), expected);
    }

    #[test]
    fn literals_go_and_the_rest_stays() {
        for dialect in [Dialect::Postgres, Dialect::MySql, Dialect::Cql] {
            let cases = [
                (
                    "SELECT * FROM t1 WHERE a = 'it''s' AND b=42",
                    "SELECT * FROM t1 WHERE a = ? AND b=?",
                ),
                ("VALUES (-1.5e-10,.5, 0xFF, X'ff')", "VALUES (-?,?, ?, ?)"),
                ("SELECT 1 -- secret\nFROM x2", "SELECT ?  \nFROM x2"),
                ("SELECT/* secret */a", "SELECT a"),
                ("INSERT INTO é VALUES ('é')", "INSERT INTO é VALUES (?)"),
                ("SELECT 'cut sho", "SELECT ?"),
                ("SELECT ''", "SELECT ?"),
                ("", ""),
            ];
            for (statement, expected) in cases {
                assert_redacted(dialect, statement, expected);
            }
        }
    }

    #[test]
    fn postgres_has_dollars_escapes_and_nested_comments() {
        let assert_redacted =
            |statement, expected| assert_redacted(Dialect::Postgres, statement, expected);
        assert_redacted("SELECT $1, $2::int, $$it's$$", "SELECT $1, $2::int, ?");
        assert_redacted("DO $fn$ $$ 'x' $$ $fn$ x", "DO ? x");
        assert_redacted("SELECT $a$ cut $a", "SELECT ?");
        assert_redacted(r"SELECT E'a\'b', 'c\', d", "SELECT ?, ?, d");
        assert_redacted(r#"SELECT "a'b" FROM "t 1""#, r#"SELECT "a'b" FROM "t 1""#);
        assert_redacted("a /* b /* c */ d */ e", "a   e");
        assert_redacted("a$1$b", "a$1$b");
        assert_redacted("ALTER USER a PASSWORD 'x'", "ALTER USER a PASSWORD ?");
    }

    #[test]
    fn mysql_has_backslashes_and_double_quotes() {
        let assert_redacted =
            |statement, expected| assert_redacted(Dialect::MySql, statement, expected);
        assert_redacted(r#"SELECT 'a\'b', "c\"d", `e'f`"#, "SELECT ?, ?, `e'f`");
        assert_redacted("SELECT 1 # secret", "SELECT ?  ");
        assert_redacted("/*!40101 SET a='b' */", "/*!? SET a=? */");
        assert_redacted("/* b /* c */ d", "  d");
    }

    #[test]
    fn cql_has_uuids_and_dollars() {
        let assert_redacted =
            |statement, expected| assert_redacted(Dialect::Cql, statement, expected);
        assert_redacted("id = f47ac10b-58cc-4372-a567-0e02b2c3d479;", "id = ?;");
        assert_redacted("id = 123e4567-e89b-12d3-a456-426614174000", "id = ?");
        assert_redacted("a = $$it's$$ // secret", "a = ?  ");
        assert_redacted("f47ac10b - 1", "f47ac10b - ?");
    }

    #[test]
    fn what_a_message_quotes_goes() {
        let message =
            |text: &str| String::from_utf8(without_quoted(text.as_bytes()).into()).unwrap();
        assert_eq!(message(r#"invalid integer: "x""#), r#"invalid integer: "?""#);
        assert_eq!(message(r#"a "b" c "d"#), r#"a "?" c "?""#);
        assert_eq!(message("nothing"), "nothing");
    }
}
