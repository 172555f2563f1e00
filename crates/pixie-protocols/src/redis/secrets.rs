//! Passwords in commands and answers: they are never kept.

use pixie_core::record::{RedisRequest, RedisResponse, RedisValue};
use pixie_core::sinks::REDACTED;

/// Replaces the passwords among the arguments.
pub(super) fn remove(request: &mut RedisRequest) {
    let removes: fn(&[Vec<u8>], &[u8]) -> bool = match request.command.as_bytes() {
        b"AUTH" => return remove_last(request),
        b"HELLO" => |before, _| nth_after(before, b"AUTH", 2),
        b"MIGRATE" => |before, _| nth_after(before, b"AUTH", 1) || nth_after(before, b"AUTH2", 2),
        b"ACL" => |before, argument| {
            is(before.first(), b"SETUSER") && matches!(argument, [b'>' | b'<' | b'#' | b'!', ..])
        },
        b"CONFIG" | b"SENTINEL" => |before, _| {
            is(before.first(), b"SET") && before.last().is_some_and(|name| is_secret(name))
        },
        _ => return,
    };
    let mut before: Vec<Vec<u8>> = Vec::new();
    request.arguments = request.arguments.redacted(|_, argument| {
        let removed = removes(&before, argument);
        before.push(argument.to_vec());
        removed
    });
}

/// `AUTH password`, `AUTH user password`: a user alone cannot be told from a password.
fn remove_last(request: &mut RedisRequest) {
    let kept = usize::from(request.arguments.count() == 2);
    request.arguments = request.arguments.redacted(|place, _| place >= kept);
}

fn is(argument: Option<&Vec<u8>>, word: &[u8]) -> bool {
    argument.is_some_and(|argument| argument.eq_ignore_ascii_case(word))
}

/// Whether `word` is the argument so many places before the one that follows `before`.
fn nth_after(before: &[Vec<u8>], word: &[u8], places: usize) -> bool {
    let place = before.len().checked_sub(places);
    is(place.and_then(|place| before.get(place)), word)
}

/// Whether a setting of this name has a secret as its value: `requirepass`, `masterauth`,
/// `tls-key-file-pass`, `auth-pass`.
fn is_secret(setting: &[u8]) -> bool {
    let setting = setting.to_ascii_lowercase();
    memchr::memmem::find(&setting, b"pass").is_some() || setting.ends_with(b"auth")
}

/// Whether the answer to this command may have passwords, or their hashes, in it.
pub(super) fn answers_secrets(request: &RedisRequest) -> bool {
    let subcommands: &[&[u8]] = match request.command.as_bytes() {
        b"CONFIG" => &[b"GET"],
        b"ACL" => &[b"GETUSER", b"LIST", b"GENPASS"],
        _ => return false,
    };
    let first = request.arguments.get(0).map(|argument| argument.bytes).unwrap_or_default();
    subcommands.iter().any(|subcommand| first.eq_ignore_ascii_case(subcommand))
}

/// Replaces the value of such an answer; what went wrong may stay.
pub(super) fn remove_answer(response: &mut RedisResponse) {
    if response.error().is_none() && response.value != RedisValue::Null {
        response.value = RedisValue::Text(REDACTED.into());
    }
}

/// Replaces such an answer where the command is not known.
pub(super) fn remove_settings(response: &mut RedisResponse) {
    let mut texts: Vec<&RedisValue> = vec![&response.value];
    let mut has_secret = false;
    while let Some(value) = texts.pop() {
        match value {
            RedisValue::Text(text) => {
                has_secret |= is_secret(text) || text.starts_with(b"user ") || is_hash(text);
            }
            RedisValue::List(values) => texts.extend(values),
            RedisValue::Map(pairs) => {
                texts.extend(pairs.iter().flat_map(|(key, value)| [key, value]));
            }
            _ => {}
        }
    }
    if has_secret {
        remove_answer(response);
    }
}

/// A hash of a password, as `ACL GETUSER` tells it (SHA-256).
fn is_hash(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"#").unwrap_or(text);
    digits.len() == 64 && digits.iter().all(u8::is_ascii_hexdigit)
}

/// Cuts a line of `MONITOR` where a command with a password may begin: newer servers leave such
/// commands out, older ones did not.
pub(super) fn cut_monitored(response: &mut RedisResponse) {
    const SECRETS: [&[u8]; 5] = [b"\"auth", b"pass\"", b"auth\"", b"\"hello\"", b"\"acl\""];
    if let RedisValue::Text(line) = &mut response.value {
        let lower = line.to_ascii_lowercase();
        let first = SECRETS.iter().filter_map(|word| memchr::memmem::find(&lower, word)).min();
        if let Some(first) = first {
            line.truncate(first);
            response.truncated = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pixie_core::Text;
    use pixie_core::record::{RedisArgumentsBuilder, RedisType};

    fn request(line: &str) -> RedisRequest {
        let mut words = line.split(' ');
        let command = Text::from(words.next().unwrap_or_default());
        let mut builder = RedisArgumentsBuilder::default();
        let mut count = 0;
        for word in words {
            builder.push(word.as_bytes(), word.len() as u64);
            count += 1;
        }
        RedisRequest::new(command, builder.build(count, 0))
    }

    fn kept(line: &str) -> String {
        let mut request = request(line);
        remove(&mut request);
        let arguments = request.arguments.iter();
        let arguments = arguments.map(|argument| String::from_utf8_lossy(argument.bytes));
        arguments.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn passwords_are_never_kept() {
        for (line, expected) in [
            ("AUTH secret", "*"),
            ("AUTH user secret", "user *"),
            ("HELLO 3 AUTH user secret SETNAME me", "3 AUTH user * SETNAME me"),
            ("HELLO 3", "3"),
            ("MIGRATE h 1 k 0 9 AUTH secret", "h 1 k 0 9 AUTH *"),
            ("MIGRATE h 1  0 9 AUTH2 user secret KEYS k", "h 1  0 9 AUTH2 user * KEYS k"),
            ("ACL SETUSER me on >secret ~* +@all", "SETUSER me on * ~* +@all"),
            ("ACL SETUSER me #abc !abc <secret", "SETUSER me * * *"),
            ("CONFIG SET requirepass secret maxmemory 1", "SET requirepass * maxmemory 1"),
            ("CONFIG SET maxmemory 1 MASTERAUTH secret", "SET maxmemory 1 MASTERAUTH *"),
            ("SENTINEL SET main auth-pass secret", "SET main auth-pass *"),
            ("SET requirepass public", "requirepass public"),
        ] {
            assert_eq!(kept(line), expected.replace('*', REDACTED).replace("~[redacted]", "~*"));
        }
    }

    #[test]
    fn answers_with_passwords_are_not_kept() {
        assert!(answers_secrets(&request("CONFIG get *")));
        assert!(answers_secrets(&request("ACL LIST")));
        assert!(!answers_secrets(&request("CONFIG SET a b")));
        let value = RedisValue::List(vec![RedisValue::Text("secret".into())]);
        let mut response = RedisResponse::new(RedisType::Array, value);
        remove_answer(&mut response);
        assert!(!format!("{response:?}").contains("secret"));
    }

    #[test]
    fn monitored_passwords_are_cut_off() {
        let line = |text: &'static str| {
            let value = RedisValue::Text(text.into());
            let mut response = RedisResponse::new(RedisType::Simple, value);
            cut_monitored(&mut response);
            (response.value, response.truncated)
        };
        let (value, truncated) = line("1.5 [0 a:1] \"AUTH\" \"secret\"");
        assert_eq!((value, truncated), (RedisValue::Text("1.5 [0 a:1] ".into()), true));
        let (_, truncated) = line("1.5 [0 a:1] \"get\" \"key\"");
        assert!(!truncated);
    }
}
