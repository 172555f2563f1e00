use super::{BodyDecoding, Headers, Http2Error, HttpVersion, Traffic};
use crate::Text;
use crate::record::heap::heap;
use crate::sinks::Redaction;
use bytes::Bytes;
use std::fmt;
use std::time::Duration;

/// A gRPC call, of whatever kind: unary or streaming, over HTTP/2 or as gRPC-Web.
///
/// One half is `None` when it was not seen: the connection was joined or ended in between, or the
/// bytes were lost.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Grpc {
    /// What all traffic records have in common.
    pub traffic: Traffic,
    /// What the client sent.
    pub request: Option<GrpcRequest>,
    /// What the server sent.
    pub response: Option<GrpcResponse>,
    /// Why the call's HTTP/2 stream was ended before its time, if it was.
    pub reset: Option<Http2Error>,
}

/// What the client of a call sent.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct GrpcRequest {
    /// The full name of the service, `package.Service`. Empty when it could not be known; null in
    /// the JSON form.
    pub service: Text,
    /// The method. Empty when it could not be known; null in the JSON form.
    pub method: Text,
    /// The version of HTTP that carries the call: 2, or any for gRPC-Web.
    pub version: HttpVersion,
    /// How long the client wants to wait (`grpc-timeout`).
    pub timeout: Option<Duration>,
    /// The header fields, the call's metadata among them.
    pub headers: Headers,
    /// The messages.
    pub messages: GrpcMessages,
}

/// What the server of a call sent.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct GrpcResponse {
    /// The status of the HTTP response, 200 where gRPC is spoken. 0 when it could not be known;
    /// null in the JSON form.
    pub http_status: u16,
    /// The status of the call (`grpc-status`); `None` when it was not sent or not seen.
    pub status: Option<GrpcStatus>,
    /// What the status has to say (`grpc-message`), without percent-encoding; mostly empty.
    pub message: Text,
    /// The header fields, the initial metadata among them.
    pub headers: Headers,
    /// The trailer fields, with the trailing metadata. Empty where the status came with the
    /// headers.
    pub trailers: Headers,
    /// The messages.
    pub messages: GrpcMessages,
}

/// The messages that went one way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GrpcMessages {
    /// How many there were.
    pub count: u64,
    /// Their size in bytes as sent, without their prefixes.
    pub bytes: u64,
    /// How many of them were compressed.
    pub compressed: u64,
    /// False when there may be more than these: the stream was ended within a message or before its
    /// end was seen, or the start of a message was lost.
    pub complete: bool,
    /// The first messages, at most 16.
    pub first: Vec<GrpcMessage>,
}

/// One message, and as much of it as was captured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GrpcMessage {
    /// Its size in bytes as sent.
    pub size: u32,
    /// Whether it was compressed.
    pub compressed: bool,
    /// What was captured: its start, decompressed where `decoding` says so. All messages of one way
    /// share the limit on bodies.
    pub bytes: Bytes,
    /// How many bytes, as sent, were captured: less than `size` when it was cut short.
    pub captured: u32,
    /// Whether `bytes` are what was sent or what it decompresses to.
    pub decoding: BodyDecoding,
}

/// The status of a call, as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GrpcStatus(pub u32);

impl GrpcStatus {
    /// The call succeeded.
    pub const OK: Self = Self(0);

    /// Its name in the specification, in lower case: `not_found`. `None` for a code that has none.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        const NAMES: [&str; 17] = [
            "ok",
            "cancelled",
            "unknown",
            "invalid_argument",
            "deadline_exceeded",
            "not_found",
            "already_exists",
            "permission_denied",
            "resource_exhausted",
            "failed_precondition",
            "aborted",
            "out_of_range",
            "unimplemented",
            "internal",
            "unavailable",
            "data_loss",
            "unauthenticated",
        ];
        NAMES.get(usize::try_from(self.0).ok()?).copied()
    }
}

impl fmt::Display for GrpcStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => formatter.write_str(name),
            None => write!(formatter, "status {}", self.0),
        }
    }
}

impl Grpc {
    /// A call over the connection that `traffic` names.
    #[must_use]
    pub fn new(
        traffic: Traffic,
        request: Option<GrpcRequest>,
        response: Option<GrpcResponse>,
    ) -> Self {
        Self { traffic, request, response, reset: None }
    }

    /// True for a status other than OK, for an HTTP status of 400 or more, and for a stream that
    /// was reset with an error or before there was a status.
    #[must_use]
    pub fn is_error(&self) -> bool {
        let response = self.response.as_ref();
        let status = response.and_then(|response| response.status);
        status.is_some_and(|status| status != GrpcStatus::OK)
            || response.is_some_and(|response| response.http_status >= 400)
            || self.reset.is_some_and(|code| code != Http2Error::NO_ERROR || status.is_none())
    }

    /// Removes credentials and, where that is asked for, messages.
    pub(crate) fn redact(&mut self, redaction: &Redaction) {
        if let Some(request) = &mut self.request {
            request.headers.redact(redaction);
            request.messages.redact(redaction);
        }
        if let Some(response) = &mut self.response {
            response.headers.redact(redaction);
            response.trailers.redact(redaction);
            response.messages.redact(redaction);
        }
    }
}

impl GrpcMessages {
    fn redact(&mut self, redaction: &Redaction) {
        if redaction.removes_bodies() {
            for message in &mut self.first {
                message.bytes = Bytes::new();
                message.captured = 0;
            }
        }
    }
}

impl fmt::Display for Grpc {
    /// `14:03:59.120 1234 app server 127.0.0.1:80 <- 127.0.0.1:5000 a.Greeter/Hello 1 -> 1 ok 1.25 ms`
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.traffic.fmt_prefix(formatter)?;
        match &self.request {
            Some(GrpcRequest { service, method, messages, .. }) if !method.is_empty() => {
                write!(formatter, " {service}/{method} {}", messages.count)?;
            }
            Some(request) => write!(formatter, " ? {}", request.messages.count)?,
            None => formatter.write_str(" ? ?")?,
        }
        match &self.response {
            Some(response) => {
                write!(formatter, " -> {}", response.messages.count)?;
                match response.status {
                    Some(status) => write!(formatter, " {status}")?,
                    None => formatter.write_str(" no status")?,
                }
            }
            None => formatter.write_str(" no response")?,
        }
        if let Some(reset) = self.reset {
            write!(formatter, " {reset}")?;
        }
        self.traffic.fmt_latency(formatter)
    }
}

heap! {
    Grpc { request, response }
    GrpcRequest { service, method, headers, messages }
    GrpcResponse { message, headers, trailers, messages }
    GrpcMessages { first }
    GrpcMessage { bytes }
}

#[cfg(feature = "serde")]
mod serialize {
    use super::{Grpc, GrpcMessage, GrpcMessages, GrpcRequest, GrpcResponse};
    use crate::record::Entries;
    use crate::record::http::known;
    use crate::record::serialize::{base64, text_of};
    use serde::ser::{Serialize, SerializeMap, Serializer};

    impl Entries for Grpc {
        fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
            self.traffic.entries(map)?;
            map.serialize_entry("request", &self.request)?;
            map.serialize_entry("response", &self.response)?;
            if let Some(reset) = self.reset {
                map.serialize_entry("reset", &reset)?;
            }
            Ok(())
        }
    }

    impl Serialize for GrpcRequest {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("service", &known(&self.service))?;
            map.serialize_entry("method", &known(&self.method))?;
            map.serialize_entry("version", self.version.as_str())?;
            let nanoseconds = self.timeout.map(|timeout| timeout.as_nanos());
            let nanoseconds = nanoseconds.map(|ns| u64::try_from(ns).unwrap_or(u64::MAX));
            map.serialize_entry("timeout_ns", &nanoseconds)?;
            self.headers.entries("headers", &mut map)?;
            self.messages.entries(&mut map)?;
            map.end()
        }
    }

    impl Serialize for GrpcResponse {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            let http_status = Some(self.http_status).filter(|&status| status != 0);
            map.serialize_entry("status", &http_status)?;
            map.serialize_entry("grpc_status", &self.status.map(|status| status.0))?;
            map.serialize_entry("grpc_message", &self.message)?;
            self.headers.entries("headers", &mut map)?;
            self.trailers.entries("trailers", &mut map)?;
            self.messages.entries(&mut map)?;
            map.end()
        }
    }

    impl Entries for GrpcMessages {
        fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
            map.serialize_entry("messages", &self.count)?;
            map.serialize_entry("messages_size", &self.bytes)?;
            map.serialize_entry("messages_compressed", &self.compressed)?;
            map.serialize_entry("messages_complete", &self.complete)?;
            map.serialize_entry("first_messages", &self.first)
        }
    }

    impl Serialize for GrpcMessage {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("size", &self.size)?;
            map.serialize_entry("captured", &self.captured)?;
            map.serialize_entry("compressed", &self.compressed)?;
            map.serialize_entry("decoding", self.decoding.as_str())?;
            let text = text_of(&self.bytes, self.captured < self.size);
            map.serialize_entry("body", &text)?;
            if text.is_none() {
                map.serialize_entry("body_base64", &base64(&self.bytes))?;
            }
            map.end()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(status: Option<u32>, reset: Option<u32>) -> Grpc {
        let mut response = GrpcResponse { http_status: 200, ..GrpcResponse::default() };
        response.status = status.map(GrpcStatus);
        let mut call = Grpc::new(Traffic::default(), None, Some(response));
        call.reset = reset.map(Http2Error);
        call
    }

    #[test]
    fn a_call_fails_by_its_status_or_by_a_reset() {
        assert!(!call(Some(0), None).is_error());
        assert!(call(Some(5), None).is_error());
        assert!(!call(None, None).is_error());
        assert!(call(None, Some(8)).is_error());
        // A server that has answered need not hear the rest of the request.
        assert!(!call(Some(0), Some(0)).is_error());
        assert!(call(None, Some(0)).is_error());
    }

    #[test]
    fn messages_go_with_the_bodies_and_credentials_by_default() {
        let first =
            GrpcMessage { bytes: "secret"[..].into(), captured: 6, size: 9, ..Default::default() };
        let messages =
            GrpcMessages { count: 1, bytes: 9, first: vec![first], ..Default::default() };
        let headers = [("authorization", "secret"), ("x", "y")].into_iter().collect();
        let request = GrpcRequest { messages, headers, ..GrpcRequest::default() };
        let mut call = Grpc::new(Traffic::default(), Some(request), None);
        call.redact(&Redaction::default());
        let request = call.request.as_ref().unwrap();
        assert_eq!(request.messages.first[0].bytes, "secret");
        assert_eq!(request.headers.get("authorization"), Some(&b"[redacted]"[..]));
        call.redact(&Redaction::default().bodies());
        assert!(!format!("{call:?}").contains("secret"), "{call:?}");
        assert_eq!(call.request.unwrap().messages.bytes, 9);
    }

    #[test]
    fn a_line_tells_the_call_and_its_outcome() {
        let mut call = call(Some(5), None);
        let mut request = GrpcRequest::default();
        (request.service, request.method) = (Text::from("a.Greeter"), Text::from("Hello"));
        call.request = Some(request);
        assert!(call.to_string().ends_with("a.Greeter/Hello 0 -> 0 not_found"), "{call}");
    }
}
