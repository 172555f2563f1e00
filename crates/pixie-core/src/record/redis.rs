mod arguments;

pub use arguments::{RedisArgument, RedisArguments, RedisArgumentsBuilder};

use super::Traffic;
use crate::Text;
use crate::record::heap::{Heap, heap};
use crate::sinks::{REDACTED, Redaction};
use bytes::Bytes;
use std::fmt;

/// A Redis command and the answer to it, or a message that the server pushed.
///
/// One half is `None` when it was not seen or, by the protocol, is not there: a pushed message has
/// no request, and after `CLIENT REPLY OFF` commands have no response.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Redis {
    /// What all traffic records have in common.
    pub traffic: Traffic,
    /// The command.
    pub request: Option<RedisRequest>,
    /// The answer, or the pushed message.
    pub response: Option<RedisResponse>,
}

/// A command with its arguments. Passwords are never in it.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RedisRequest {
    /// The name of the command in upper case, without a subcommand: `CONFIG`.
    pub command: Text,
    /// What follows the name.
    pub arguments: RedisArguments,
    /// False when not all of it was seen.
    pub complete: bool,
}

/// What the server sent.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RedisResponse {
    /// Its type on the wire.
    pub kind: RedisType,
    /// As much of its value as was kept.
    pub value: RedisValue,
    /// Bytes in all of its strings, also those that were not kept.
    pub size: u64,
    /// How many elements it has, for a map pairs, when it is an aggregate of known length; also
    /// those that were not kept.
    pub count: Option<u64>,
    /// True when not all of the value is in `value`.
    pub truncated: bool,
    /// True for a message that answers no command: of a subscription, of `MONITOR`, or pushed.
    pub push: bool,
    /// False when its end was not seen; `size` is then what was seen of it or announced.
    pub complete: bool,
}

/// The type of a value in RESP2 and RESP3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RedisType {
    /// `+`
    #[default]
    Simple,
    /// `-`
    Error,
    /// `:`
    Integer,
    /// `$`
    Bulk,
    /// `*`
    Array,
    /// `_`, and in RESP2 a bulk string or array of length -1.
    Null,
    /// `#`
    Boolean,
    /// `,`
    Double,
    /// `(`
    BigNumber,
    /// `!`
    BulkError,
    /// `=`
    Verbatim,
    /// `%`
    Map,
    /// `~`
    Set,
    /// `>`
    Push,
}

/// A value, or as much of it as was kept.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum RedisValue {
    /// Null, or nothing was kept.
    #[default]
    Null,
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A floating-point number.
    Double(f64),
    /// A string of any type.
    Text(Bytes),
    /// An error, with its code: `ERR unknown command`.
    Error(Text),
    /// The elements of an array, a set or a push.
    List(Vec<RedisValue>),
    /// The pairs of a map.
    Map(Vec<(RedisValue, RedisValue)>),
}

impl Redis {
    /// An exchange over the connection that `traffic` names.
    #[must_use]
    #[inline]
    pub fn new(
        traffic: Traffic,
        request: Option<RedisRequest>,
        response: Option<RedisResponse>,
    ) -> Self {
        Self { traffic, request, response }
    }

    /// True when the answer is an error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.response.as_ref().is_some_and(|response| response.error().is_some())
    }

    /// Removes values: the arguments after the key, and what the server answered.
    pub(crate) fn redact(&mut self, redaction: &Redaction) {
        if !redaction.removes_values() {
            return;
        }
        if let Some(request) = &mut self.request {
            let kept = usize::from(!request.begins_with_value());
            request.arguments = request.arguments.redacted(|place, _| place >= kept);
        }
        if let Some(response) = &mut self.response {
            response.redact();
        }
    }
}

impl RedisRequest {
    /// A complete command; the name is to be in upper case.
    #[must_use]
    #[inline]
    pub fn new(command: Text, arguments: RedisArguments) -> Self {
        Self { command, arguments, complete: true }
    }

    /// Whether the first argument is neither a key nor a channel nor a subcommand.
    fn begins_with_value(&self) -> bool {
        const SUCH: [&str; 7] = ["ECHO", "PING", "EVAL", "EVAL_RO", "EVALSHA", "AUTH", "HELLO"];
        SUCH.iter().any(|command| self.command == *command)
    }
}

impl RedisResponse {
    /// A complete answer with a value of this type.
    #[must_use]
    #[inline]
    pub fn new(kind: RedisType, value: RedisValue) -> Self {
        Self { kind, value, complete: true, ..Self::default() }
    }

    /// The error, where it is one.
    #[must_use]
    pub fn error(&self) -> Option<&Text> {
        match &self.value {
            RedisValue::Error(error) => Some(error),
            _ => None,
        }
    }

    /// Replaces the value. States and the codes of errors remain.
    fn redact(&mut self) {
        match (&mut self.value, self.kind) {
            (RedisValue::Null, _) => {}
            (RedisValue::Text(_), RedisType::Simple) if !self.push => {}
            (RedisValue::Error(error), _) => {
                let code = error.as_bytes().split(|byte| *byte == b' ').next();
                let code = code.unwrap_or_default();
                let is_code = code.iter().all(u8::is_ascii_uppercase);
                let text = [if is_code { code } else { b"" }, b" ", REDACTED.as_bytes()].concat();
                *error = Text::from_bytes(text.trim_ascii_start().to_vec());
            }
            (value, _) => *value = RedisValue::Text(Bytes::from_static(REDACTED.as_bytes())),
        }
    }
}

impl fmt::Display for Redis {
    /// `… client 127.0.0.1:5000 -> 127.0.0.1:6379 GET key bulk 3 B 0.25 ms`
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.traffic.fmt_prefix(formatter)?;
        match (&self.request, &self.response) {
            (Some(request), _) => request.fmt(formatter)?,
            (None, Some(response)) if response.push => formatter.write_str(" pushed")?,
            (None, _) => formatter.write_str(" ?")?,
        }
        match &self.response {
            Some(response) => response.fmt(formatter)?,
            None => formatter.write_str(" no response")?,
        }
        self.traffic.fmt_latency(formatter)
    }
}

impl RedisRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// As many arguments, and as many bytes of each, are shown.
        const SHOWN: (usize, usize) = (3, 32);
        write!(formatter, " {}", self.command)?;
        for argument in self.arguments.iter().take(SHOWN.0) {
            let shown = argument.bytes.get(..SHOWN.1).unwrap_or(argument.bytes);
            write!(formatter, " {}", shown.escape_ascii())?;
            let is_cut = (shown.len() as u64) < argument.size;
            if is_cut && argument.bytes != REDACTED.as_bytes() {
                formatter.write_str("...")?;
            }
        }
        if self.arguments.count() > SHOWN.0 as u64 {
            formatter.write_str(" ...")?;
        }
        Ok(())
    }
}

impl RedisResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, " {}", self.kind.as_str())?;
        match (&self.value, self.count) {
            (RedisValue::Error(error), _) => {
                write!(formatter, " {}", error.as_bytes().escape_ascii())
            }
            (RedisValue::Integer(value), _) => write!(formatter, " {value}"),
            (RedisValue::Boolean(value), _) => write!(formatter, " {value}"),
            (RedisValue::Double(value), _) => write!(formatter, " {value}"),
            (RedisValue::Text(text), _) if self.kind == RedisType::Simple => {
                write!(formatter, " {}", text.escape_ascii())
            }
            (_, Some(count)) => write!(formatter, " of {count}"),
            (RedisValue::Null, _) if self.kind == RedisType::Null => Ok(()),
            _ => write!(formatter, " {} B", self.size),
        }
    }
}

impl RedisType {
    /// The name in the JSON form, in snake case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Error => "error",
            Self::Integer => "integer",
            Self::Bulk => "bulk",
            Self::Array => "array",
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Double => "double",
            Self::BigNumber => "big_number",
            Self::BulkError => "bulk_error",
            Self::Verbatim => "verbatim",
            Self::Map => "map",
            Self::Set => "set",
            Self::Push => "push",
        }
    }
}

heap! {
    Redis { request, response }
    RedisRequest { command, arguments }
    RedisResponse { value }
}

impl Heap for RedisValue {
    fn heap(&self) -> usize {
        match self {
            Self::Text(bytes) => bytes.heap(),
            Self::Error(text) => text.heap(),
            Self::List(values) => values.heap(),
            Self::Map(entries) => entries.heap(),
            _ => 0,
        }
    }
}

#[cfg(feature = "serde")]
mod serialize {
    use super::{Redis, RedisArguments, RedisRequest, RedisResponse, RedisValue};
    use crate::record::Entries;
    use crate::record::serialize::{base64, text_of};
    use serde::ser::{Serialize, SerializeMap, Serializer};

    impl Entries for Redis {
        fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
            self.traffic.entries(map)?;
            map.serialize_entry("request", &self.request)?;
            map.serialize_entry("response", &self.response)
        }
    }

    impl Serialize for RedisRequest {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("command", &self.command)?;
            map.serialize_entry("arguments", &self.arguments)?;
            map.serialize_entry("argument_count", &self.arguments.count())?;
            map.serialize_entry("size", &self.arguments.size())?;
            map.serialize_entry("complete", &self.complete)?;
            map.end()
        }
    }

    impl Serialize for RedisArguments {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(self.iter().map(|argument| {
                let cut = (argument.bytes.len() as u64) < argument.size;
                Payload { bytes: argument.bytes, cut }
            }))
        }
    }

    impl Serialize for RedisResponse {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("type", self.kind.as_str())?;
            match self.error() {
                Some(error) => {
                    map.serialize_entry("value", &())?;
                    map.serialize_entry("error", error)?;
                }
                None => {
                    map.serialize_entry("value", &self.value)?;
                    map.serialize_entry("error", &())?;
                }
            }
            map.serialize_entry("size", &self.size)?;
            map.serialize_entry("count", &self.count)?;
            map.serialize_entry("truncated", &self.truncated)?;
            map.serialize_entry("push", &self.push)?;
            map.serialize_entry("complete", &self.complete)?;
            map.end()
        }
    }

    impl Serialize for RedisValue {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self {
                Self::Null => serializer.serialize_unit(),
                Self::Boolean(value) => serializer.serialize_bool(*value),
                Self::Integer(value) => serializer.serialize_i64(*value),
                Self::Double(value) => serializer.serialize_f64(*value),
                Self::Text(bytes) => Payload { bytes, cut: true }.serialize(serializer),
                Self::Error(error) => serializer.collect_map([("error", error)]),
                Self::List(values) => serializer.collect_seq(values),
                // Pairs, because keys need not be text.
                Self::Map(pairs) => serializer.collect_seq(pairs),
            }
        }
    }

    /// Bytes that are most often text.
    struct Payload<'a> {
        bytes: &'a [u8],
        cut: bool,
    }

    impl Serialize for Payload<'_> {
        /// A string, or `{"base64": …}` for what is not UTF-8.
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match text_of(self.bytes, self.cut) {
                Some(text) => serializer.serialize_str(text),
                None => serializer.collect_map([("base64", base64(self.bytes))]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange() -> Redis {
        let mut builder = RedisArgumentsBuilder::default();
        builder.push(b"user:1", 6);
        builder.push(b"secr", 1006);
        builder.extend_last(b"et");
        let request = RedisRequest::new(Text::from("SET"), builder.build(3, 1012));
        let response = RedisResponse::new(RedisType::Simple, RedisValue::Text("OK".into()));
        Redis::new(Traffic::default(), Some(request), Some(response))
    }

    #[test]
    fn arguments_are_kept_with_their_true_sizes() {
        let arguments = exchange().request.unwrap().arguments;
        assert_eq!((arguments.count(), arguments.size()), (3, 1012));
        let kept: Vec<_> = arguments.iter().map(|argument| argument.bytes).collect();
        assert_eq!(kept, [&b"user:1"[..], b"secret"]);
        assert_eq!(arguments.get(2), None);
    }

    #[test]
    fn a_line_shows_command_and_answer() {
        let line = exchange().to_string();
        assert!(line.contains(" SET user:1 secret... simple OK"), "{line}");
        let pushed = RedisResponse { push: true, ..RedisResponse::default() };
        let line = Redis::new(Traffic::default(), None, Some(pushed)).to_string();
        assert!(line.contains(" pushed "), "{line}");
    }

    #[cfg(feature = "serde")]
    #[test]
    fn the_json_form_has_request_and_response() {
        let mut exchange = exchange();
        let pairs = vec![(RedisValue::Text("a".into()), RedisValue::Text(vec![0xff, 0].into()))];
        let mut response = RedisResponse::new(RedisType::Map, RedisValue::Map(pairs));
        response.count = Some(1);
        exchange.response = Some(response);
        let json = serde_json::to_value(crate::Record::from(exchange)).unwrap();
        assert_eq!(json["kind"], "redis");
        assert_eq!(json["request"]["command"], "SET");
        assert_eq!(json["request"]["arguments"], serde_json::json!(["user:1", "secret"]));
        assert_eq!(json["request"]["argument_count"], 3);
        assert_eq!(json["response"]["type"], "map");
        assert_eq!(json["response"]["value"], serde_json::json!([["a", {"base64": "/wA="}]]));
        assert_eq!(
            (&json["response"]["count"], &json["response"]["push"]),
            (&1.into(), &false.into())
        );
    }

    #[cfg(feature = "serde")]
    #[test]
    fn the_json_form_has_an_error_of_its_own() {
        let value = RedisValue::Error(Text::from("ERR no"));
        let response = RedisResponse::new(RedisType::Error, value);
        let redis = Redis::new(Traffic::default(), None, Some(response));
        let json = serde_json::to_value(crate::Record::from(redis)).unwrap();
        assert_eq!(json["response"]["error"], "ERR no");
        assert!(json["response"]["value"].is_null() && json["request"].is_null());
    }

    #[test]
    fn redaction_keeps_command_key_and_state() {
        let line = Redaction::default().apply(&exchange().into()).to_string();
        assert!(line.contains(" SET user:1 [redacted] "), "{line}");
        assert!(line.contains("simple OK") && !line.contains("secret"), "{line}");
    }

    #[test]
    fn redaction_keeps_the_code_of_an_error_and_no_value() {
        let redacted = |kind, value| {
            let response = RedisResponse::new(kind, value);
            let redis = Redis::new(Traffic::default(), None, Some(response));
            match Redaction::default().apply(&redis.into()) {
                crate::Record::Redis(redis) => redis.response.unwrap().value,
                other => panic!("{other:?}"),
            }
        };
        let error = RedisValue::Error(Text::from("WRONGTYPE of secret"));
        let expected = RedisValue::Error(Text::from("WRONGTYPE [redacted]"));
        assert_eq!(redacted(RedisType::Error, error), expected);
        let list = RedisValue::List(vec![RedisValue::Text("secret".into())]);
        let expected = RedisValue::Text(REDACTED.into());
        assert_eq!(redacted(RedisType::Array, list), expected);
        assert_eq!(redacted(RedisType::Integer, RedisValue::Integer(7)), expected);
        assert_eq!(redacted(RedisType::Null, RedisValue::Null), RedisValue::Null);
    }
}
