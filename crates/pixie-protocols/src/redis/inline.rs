//! Inline commands: words in a line, as a person types them.

/// The words of a line: separated by white space, and quoted as in C (`"a\n\x00"`) or plainly
/// (`'a b'`). `None` when a quote is not closed or goes on with something else, which a server
/// refuses, too.
pub(super) fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let (word, after) = word(rest)?;
        words.push(word);
        rest = after.trim_ascii_start();
    }
    Some(words)
}

/// The first word, and what follows it.
fn word(line: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    let mut rest = line;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            _ if byte.is_ascii_whitespace() => break,
            b'"' => closed(double_quoted(after, &mut word)?)?,
            b'\'' => closed(single_quoted(after, &mut word)?)?,
            byte => {
                word.push(byte);
                after
            }
        };
    }
    Some((word, rest))
}

/// Nothing but white space may follow a closing quote.
fn closed(rest: &[u8]) -> Option<&[u8]> {
    rest.first().is_none_or(u8::is_ascii_whitespace).then_some(rest)
}

fn single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [b'\\', b'\'', after @ ..] => {
                word.push(b'\'');
                after
            }
            [b'\'', after @ ..] => return Some(after),
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
            [] => return None,
        };
    }
}

fn double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [b'\\', b'x', high, low, after @ ..] if hex(*high, *low).is_some() => {
                word.extend(hex(*high, *low));
                after
            }
            [b'\\', escaped, after @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                after
            }
            [b'"', after @ ..] => return Some(after),
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
            [] => return None,
        };
    }
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::words;

    fn split(line: &str) -> Option<Vec<Vec<u8>>> {
        words(line.as_bytes())
    }

    #[test]
    fn words_are_split_and_quotes_undone() {
        let expected: Vec<Vec<u8>> = vec![b"SET".into(), b"a b".into(), b"c\n\0'".into()];
        assert_eq!(split(r#"  SET "a b"   "c\n\x00'" "#), Some(expected));
        assert_eq!(split(r"'it\'s' ''"), Some(vec![b"it's".to_vec(), Vec::new()]));
        assert_eq!(split(r#"a"b c""#), Some(vec![b"ab c".to_vec()]));
        assert_eq!(split("  "), Some(Vec::new()));
    }

    #[test]
    fn quotes_that_are_not_closed_are_refused() {
        for line in [r#"SET "a"#, "SET 'a", r#"SET "a"b"#, r#"SET "a\"#] {
            assert_eq!(split(line), None, "{line}");
        }
    }
}
