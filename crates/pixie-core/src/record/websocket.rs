use super::headers::without_query;
use super::{Body, Traffic};
use crate::Text;
use crate::id::Role;
use crate::record::heap::heap;
use crate::sinks::Redaction;
use bytes::Bytes;
use std::fmt;

/// A message on a WebSocket (RFC 6455), either way: it is neither request nor response.
///
/// Its bytes on the connection are [`Traffic::request_bytes`] when the client sent it, and
/// [`Traffic::response_bytes`] when the server did. It has no latency.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct WebSocket {
    /// What all traffic records have in common.
    pub traffic: Traffic,
    /// The target of the request that opened it, where that was seen.
    pub path: Option<Text>,
    /// The subprotocol that was agreed on (`Sec-WebSocket-Protocol`).
    pub subprotocol: Option<Text>,
    /// Which end sent the message.
    pub sender: Role,
    /// What the message is.
    pub opcode: WebSocketOpcode,
    /// The payload, unmasked.
    pub body: Body,
    /// In how many frames it came.
    pub fragments: u64,
    /// Whether it was masked.
    pub masked: bool,
    /// Whether the payload was compressed (RFC 7692); [`Body::decoding`] says whether it is here.
    pub compressed: bool,
    /// The status of a close, where it has one (RFC 6455, section 7.4).
    pub close_code: Option<u16>,
    /// The reason of a close.
    pub close_reason: Text,
    /// What the specification does not allow about it. What follows it is not parsed.
    pub violation: Option<&'static str>,
}

/// What a message is (RFC 6455, section 11.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WebSocketOpcode {
    /// A part of a message of which the start was not seen.
    #[default]
    Continuation,
    /// Text in UTF-8.
    Text,
    /// Bytes.
    Binary,
    /// The end of the connection.
    Close,
    /// A question whether the other end is there.
    Ping,
    /// The answer to that.
    Pong,
    /// One without a meaning yet.
    Reserved(u8),
}

impl WebSocket {
    /// A message over the connection that `traffic` names.
    #[must_use]
    pub fn new(traffic: Traffic, sender: Role, opcode: WebSocketOpcode) -> Self {
        Self {
            traffic,
            path: None,
            subprotocol: None,
            sender,
            opcode,
            body: Body::default(),
            fragments: 1,
            masked: false,
            compressed: false,
            close_code: None,
            close_reason: Text::default(),
            violation: None,
        }
    }

    /// True for a close for any other reason than that all is done (1000) or that an end goes away
    /// (1001), and for what the specification does not allow.
    #[must_use]
    pub fn is_error(&self) -> bool {
        let is_usual = matches!(self.close_code, None | Some(1000 | 1001 | 1005));
        self.violation.is_some() || !is_usual
    }

    /// Removes queries and payloads, where that is asked for.
    pub(crate) fn redact(&mut self, redaction: &Redaction) {
        if let Some(path) = self.path.as_mut().filter(|_| redaction.removes_queries()) {
            *path = Text::from_bytes(without_query(path.as_bytes()));
        }
        if redaction.removes_bodies() {
            self.body.bytes = Bytes::new();
            self.body.captured = 0;
            self.close_reason = Text::default();
        }
    }
}

impl fmt::Display for WebSocket {
    /// `… client 127.0.0.1:5000 -> 127.0.0.1:80 /chat sent text 5 B`
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.traffic.fmt_prefix(formatter)?;
        match &self.path {
            Some(path) => write!(formatter, " {path}")?,
            None => formatter.write_str(" ?")?,
        }
        write!(formatter, " {} from {}", self.opcode.as_str(), self.sender)?;
        match self.close_code {
            Some(code) => write!(formatter, " {code} {}", self.close_reason)?,
            None => write!(formatter, " {} B", self.body.size)?,
        }
        match self.violation {
            Some(violation) => write!(formatter, " ({violation})"),
            None => Ok(()),
        }
    }
}

impl WebSocketOpcode {
    /// The opcode in a frame.
    #[must_use]
    pub fn of(number: u8) -> Self {
        match number {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            other => Self::Reserved(other),
        }
    }

    /// The name in the JSON form, in snake case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Continuation => "continuation",
            Self::Text => "text",
            Self::Binary => "binary",
            Self::Close => "close",
            Self::Ping => "ping",
            Self::Pong => "pong",
            Self::Reserved(_) => "reserved",
        }
    }
}

heap! { WebSocket { path, subprotocol, body, close_reason } }

#[cfg(feature = "serde")]
mod serialize {
    use super::WebSocket;
    use crate::id::Role;
    use crate::record::Entries;
    use serde::ser::{Serialize, SerializeMap, Serializer};

    impl Entries for WebSocket {
        /// The message is the `request` when the client sent it, and else the `response`.
        fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
            self.traffic.entries(map)?;
            map.serialize_entry("path", &self.path)?;
            map.serialize_entry("subprotocol", &self.subprotocol)?;
            let message = Some(Message(self));
            let (request, response) = match self.sender {
                Role::Client => (message, None),
                Role::Server => (None, message),
            };
            map.serialize_entry("request", &request)?;
            map.serialize_entry("response", &response)
        }
    }

    struct Message<'a>(&'a WebSocket);

    impl Serialize for Message<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let message = self.0;
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("opcode", message.opcode.as_str())?;
            message.body.entries(&mut map)?;
            map.serialize_entry("fragments", &message.fragments)?;
            map.serialize_entry("masked", &message.masked)?;
            map.serialize_entry("compressed", &message.compressed)?;
            if let Some(code) = message.close_code {
                map.serialize_entry("close_code", &code)?;
                map.serialize_entry("close_reason", &message.close_reason)?;
            }
            if let Some(violation) = message.violation {
                map.serialize_entry("violation", violation)?;
            }
            map.end()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(code: Option<u16>) -> WebSocket {
        let mut message = WebSocket::new(Traffic::default(), Role::Server, WebSocketOpcode::Close);
        message.close_code = code;
        message
    }

    #[test]
    fn only_an_unusual_close_is_an_error() {
        for (code, is_error) in
            [(None, false), (Some(1000), false), (Some(1001), false), (Some(1011), true)]
        {
            assert_eq!(close(code).is_error(), is_error, "{code:?}");
        }
        let mut message = WebSocket::new(Traffic::default(), Role::Client, WebSocketOpcode::Text);
        assert!(!message.is_error());
        message.violation = Some("not masked");
        assert!(message.is_error());
    }

    #[test]
    fn a_line_shows_what_was_said_by_whom() {
        let mut message = close(Some(1011));
        message.path = Some(Text::from("/chat"));
        message.close_reason = Text::from("oops");
        let line = message.to_string();
        assert!(line.ends_with(" /chat close from server 1011 oops"), "{line}");
    }

    #[cfg(feature = "serde")]
    #[test]
    fn the_json_form_puts_a_message_on_its_senders_side() {
        let mut message = close(Some(1011));
        message.close_reason = Text::from("oops");
        message.path = Some(Text::from("/chat"));
        let json = serde_json::to_value(crate::Record::from(message)).unwrap();
        assert_eq!((&json["kind"], &json["path"]), (&"websocket".into(), &"/chat".into()));
        assert!(json["request"].is_null());
        assert_eq!(json["response"]["opcode"], "close");
        assert_eq!(json["response"]["close_code"], 1011);
        assert_eq!(json["response"]["close_reason"], "oops");
        assert_eq!(json["response"]["body_size"], 0);
    }

    #[test]
    fn redaction_removes_payload_and_query() {
        let mut message = WebSocket::new(Traffic::default(), Role::Client, WebSocketOpcode::Text);
        message.path = Some(Text::from("/chat?token=secret"));
        message.body.bytes = "secret".into();
        message.body.size = 6;
        let redaction = Redaction::default().queries().bodies();
        let redacted = redaction.apply(&message.into());
        assert!(!format!("{redacted:?}").contains("secret"));
        assert!(redacted.to_string().contains("6 B"), "{redacted}");
    }
}
