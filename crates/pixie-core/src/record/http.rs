use super::headers::without_query;
use super::{Headers, Traffic};
use crate::Text;
use crate::record::heap::heap;
use crate::sinks::Redaction;
use bytes::Bytes;
use std::fmt;

/// An HTTP exchange: a request and the response to it.
///
/// One half is `None` when it was not seen: the connection was joined or ended in between, or the
/// bytes were lost.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Http {
    /// What all traffic records have in common.
    pub traffic: Traffic,
    /// The request.
    pub request: Option<HttpRequest>,
    /// The final response.
    pub response: Option<HttpResponse>,
    /// Why the exchange's HTTP/2 stream was ended before its time, if it was: the code of the
    /// `RST_STREAM` frame, or of the `GOAWAY` frame that left it unanswered.
    pub reset: Option<Http2Error>,
}

/// An HTTP request (RFC 9110, section 9).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct HttpRequest {
    /// The method, as sent. Empty when it could not be known (HTTP/2 only); null in the JSON form.
    pub method: Text,
    /// The request target, as sent: a path with its query, a whole URI (to a proxy), `host:port`
    /// (for `CONNECT`) or `*`. For HTTP/2 it is `:path`, or `:authority` for `CONNECT`. Empty when
    /// it could not be known (HTTP/2 only); null in the JSON form.
    pub path: Text,
    /// The version of the protocol.
    pub version: HttpVersion,
    /// The header fields, in the order in which they were sent. Those of HTTP/2 have `:authority`,
    /// `:scheme` and `:protocol` among them.
    pub headers: Headers,
    /// The trailer fields after the body.
    pub trailers: Headers,
    /// The body.
    pub body: Body,
    /// The server promised to answer this request, which nobody sent (HTTP/2 server push).
    pub pushed: bool,
}

/// An HTTP response (RFC 9110, section 15).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct HttpResponse {
    /// The status code of the final response. 0 when it could not be known (HTTP/2 only); null in
    /// the JSON form.
    pub status: u16,
    /// The reason phrase; HTTP/2 has none.
    pub reason: Text,
    /// The version of the protocol.
    pub version: HttpVersion,
    /// The header fields, in the order in which they were sent.
    pub headers: Headers,
    /// The trailer fields after the body.
    pub trailers: Headers,
    /// The body.
    pub body: Body,
    /// The status codes of the interim (1xx) responses that came first, at most 16.
    pub interim: Vec<u16>,
}

impl Http {
    /// An exchange over the connection that `traffic` names.
    #[must_use]
    #[inline]
    pub fn new(
        traffic: Traffic,
        request: Option<HttpRequest>,
        response: Option<HttpResponse>,
    ) -> Self {
        Self { traffic, request, response, reset: None }
    }

    /// True for a status of 400 or more, and for a stream that was reset with an error or without
    /// an answer.
    #[must_use]
    pub fn is_error(&self) -> bool {
        let is_answered = self.response.is_some();
        self.response.as_ref().is_some_and(|response| response.status >= 400)
            || self.reset.is_some_and(|code| code != Http2Error::NO_ERROR || !is_answered)
    }

    /// Removes credentials and, where that is asked for, queries and bodies.
    pub(crate) fn redact(&mut self, redaction: &Redaction) {
        if let Some(request) = &mut self.request {
            if redaction.removes_queries() {
                request.path = Text::from_bytes(without_query(request.path.as_bytes()));
            }
            request.headers.redact(redaction);
            request.trailers.redact(redaction);
            request.body.redact(redaction);
        }
        if let Some(response) = &mut self.response {
            response.headers.redact(redaction);
            response.trailers.redact(redaction);
            response.body.redact(redaction);
        }
    }
}

impl fmt::Display for Http {
    /// `14:03:59.120 1234 nginx server 127.0.0.1:80 <- 127.0.0.1:5000 GET /index 200 512 B 1.25 ms`
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.traffic.fmt_prefix(formatter)?;
        match &self.request {
            Some(request) => {
                let known =
                    |text: &Text| if text.is_empty() { Text::from("?") } else { text.clone() };
                write!(formatter, " {} {}", known(&request.method), known(&request.path))?;
            }
            None => formatter.write_str(" ? ?")?,
        }
        match &self.response {
            Some(HttpResponse { status: 0, body, .. }) => write!(formatter, " ? {} B", body.size)?,
            Some(response) => write!(formatter, " {} {} B", response.status, response.body.size)?,
            None => formatter.write_str(" no response")?,
        }
        if let Some(reset) = self.reset {
            write!(formatter, " {reset}")?;
        }
        self.traffic.fmt_latency(formatter)
    }
}

impl HttpRequest {
    /// A request without fields or body.
    #[must_use]
    #[inline]
    pub fn new(method: Text, path: Text, version: HttpVersion) -> Self {
        Self { method, path, version, ..Self::default() }
    }
}

impl HttpResponse {
    /// A response without fields or body.
    #[must_use]
    #[inline]
    pub fn new(status: u16, reason: Text, version: HttpVersion) -> Self {
        Self { status, reason, version, ..Self::default() }
    }
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum HttpVersion {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2.
    Http2,
}

impl HttpVersion {
    /// `"1.0"`, `"1.1"` or `"2"`, as in the JSON form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2",
        }
    }
}

/// The body of a message: its true size, and as much of it as was captured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Body {
    /// What was captured: the start of the body, without the framing of a chunked one, and decoded
    /// where [`Body::decoding`] says so.
    pub bytes: Bytes,
    /// The true size of the body in bytes as sent, without the framing of a chunked one and before
    /// decoding; known also when little of the body was captured.
    pub size: u64,
    /// How many of these were captured: less than `size` when the body was cut short.
    pub captured: u64,
    /// False when the body was still under way as the connection ended, or its end was lost: then
    /// `size` is what was seen of it.
    pub complete: bool,
    /// Whether `bytes` are what was sent or what it decodes to.
    pub decoding: BodyDecoding,
}

impl Body {
    fn redact(&mut self, redaction: &Redaction) {
        if redaction.removes_bodies() {
            self.bytes = Bytes::new();
            self.captured = 0;
        }
    }
}

/// What was done about a body's `Content-Encoding`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BodyDecoding {
    /// The bytes are as sent: there is no encoding, or it is not decoded.
    #[default]
    None,
    /// The bytes are decoded, to the end of the body.
    Decoded,
    /// The bytes are decoded, as far as the captured part or the limit on decoded size goes.
    Partial,
    /// The bytes are as sent, because they are not what the encoding allows.
    Failed,
}

/// An error code of HTTP/2 (RFC 9113, section 7), as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Http2Error(pub u32);

impl Http2Error {
    /// Nothing is wrong.
    pub const NO_ERROR: Self = Self(0);

    /// Its name in the specification, in lower case: `refused_stream`. `None` for a code that has
    /// none.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        const NAMES: [&str; 14] = [
            "no_error",
            "protocol_error",
            "internal_error",
            "flow_control_error",
            "settings_timeout",
            "stream_closed",
            "frame_size_error",
            "refused_stream",
            "cancel",
            "compression_error",
            "connect_error",
            "enhance_your_calm",
            "inadequate_security",
            "http_1_1_required",
        ];
        NAMES.get(usize::try_from(self.0).ok()?).copied()
    }
}

impl fmt::Display for Http2Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => formatter.write_str(name),
            None => write!(formatter, "error {:#x}", self.0),
        }
    }
}

#[cfg(feature = "serde")]
pub(super) use serialize::known;

heap! {
    Http { request, response }
    HttpRequest { method, path, headers, trailers, body }
    HttpResponse { reason, headers, trailers, body, interim }
    Body { bytes }
}

#[cfg(feature = "serde")]
mod serialize {
    use super::{Body, BodyDecoding, Headers, Http, Http2Error, HttpRequest, HttpResponse};
    use crate::Text;
    use crate::record::Entries;
    use crate::record::serialize::{base64, text_of};
    use serde::ser::{Serialize, SerializeMap, Serializer};

    impl Entries for Http {
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

    /// The name, or the number of a code without one.
    impl Serialize for Http2Error {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.name() {
                Some(name) => serializer.serialize_str(name),
                None => serializer.serialize_u32(self.0),
            }
        }
    }

    impl Serialize for HttpRequest {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("method", &known(&self.method))?;
            map.serialize_entry("path", &known(&self.path))?;
            map.serialize_entry("version", self.version.as_str())?;
            if self.pushed {
                map.serialize_entry("pushed", &true)?;
            }
            fields_and_body(&mut map, &self.headers, &self.trailers, &self.body)?;
            map.end()
        }
    }

    impl Serialize for HttpResponse {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("status", &Some(self.status).filter(|&status| status != 0))?;
            map.serialize_entry("reason", &self.reason)?;
            map.serialize_entry("version", self.version.as_str())?;
            if !self.interim.is_empty() {
                map.serialize_entry("interim", &self.interim)?;
            }
            fields_and_body(&mut map, &self.headers, &self.trailers, &self.body)?;
            map.end()
        }
    }

    /// Null for what could not be known.
    pub(crate) fn known(text: &Text) -> Option<&Text> {
        Some(text).filter(|text| !text.is_empty())
    }

    fn fields_and_body<M: SerializeMap>(
        map: &mut M,
        headers: &Headers,
        trailers: &Headers,
        body: &Body,
    ) -> Result<(), M::Error> {
        headers.entries("headers", map)?;
        if !trailers.is_empty() || !trailers.is_complete() {
            trailers.entries("trailers", map)?;
        }
        body.entries(map)
    }

    impl Entries for Body {
        fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
            let text = text_of(&self.bytes, self.captured < self.size);
            map.serialize_entry("body", &text)?;
            if text.is_none() {
                map.serialize_entry("body_base64", &base64(&self.bytes))?;
            }
            map.serialize_entry("body_size", &self.size)?;
            map.serialize_entry("body_captured", &self.captured)?;
            map.serialize_entry("body_complete", &self.complete)?;
            map.serialize_entry("body_decoding", self.decoding.as_str())
        }
    }

    impl BodyDecoding {
        pub(in crate::record) fn as_str(self) -> &'static str {
            match self {
                Self::None => "none",
                Self::Decoded => "decoded",
                Self::Partial => "partial",
                Self::Failed => "failed",
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(status: Option<u16>, reset: Option<u32>) -> Http {
        let response = status.map(|status| HttpResponse { status, ..HttpResponse::default() });
        let mut http = Http::new(Traffic::default(), None, response);
        http.reset = reset.map(Http2Error);
        http
    }

    #[test]
    fn an_exchange_fails_by_its_status_or_by_a_reset() {
        assert!(!exchange(Some(200), None).is_error());
        assert!(exchange(Some(404), None).is_error());
        assert!(exchange(Some(200), Some(8)).is_error());
        // A server that has answered need not hear the rest of the request.
        assert!(!exchange(Some(200), Some(0)).is_error());
        assert!(exchange(None, Some(0)).is_error());
        assert!(!exchange(None, None).is_error());
    }

    #[test]
    fn what_is_not_known_has_a_question_mark() {
        let mut http = exchange(Some(0), Some(7));
        http.request = Some(HttpRequest::default());
        assert!(http.to_string().ends_with("? ? ? 0 B refused_stream"), "{http}");
        assert_eq!(Http2Error(99).to_string(), "error 0x63");
    }
}
