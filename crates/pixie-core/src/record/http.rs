use super::Traffic;
use crate::Text;
use crate::sinks::{REDACTED, Redaction};
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
}

/// An HTTP request (RFC 9110, section 9).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct HttpRequest {
    /// The method, as sent.
    pub method: Text,
    /// The request target, as sent: a path with its query, a whole URI (to a proxy), `host:port`
    /// (for `CONNECT`) or `*`.
    pub path: Text,
    /// The version of the protocol.
    pub version: HttpVersion,
    /// The header fields, in the order in which they were sent.
    pub headers: Headers,
    /// The trailer fields after a chunked body.
    pub trailers: Headers,
    /// The body.
    pub body: Body,
}

/// An HTTP response (RFC 9110, section 15).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct HttpResponse {
    /// The status code of the final response.
    pub status: u16,
    /// The reason phrase; HTTP/2 has none.
    pub reason: Text,
    /// The version of the protocol.
    pub version: HttpVersion,
    /// The header fields, in the order in which they were sent.
    pub headers: Headers,
    /// The trailer fields after a chunked body.
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
        Self { traffic, request, response }
    }

    /// True for a status of 400 or more.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.response.as_ref().is_some_and(|response| response.status >= 400)
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

/// The address with everything after its first `?` replaced.
fn without_query(address: &[u8]) -> Vec<u8> {
    match address.iter().position(|byte| *byte == b'?') {
        Some(mark) => [address.get(..=mark).unwrap_or_default(), REDACTED.as_bytes()].concat(),
        None => address.to_vec(),
    }
}

impl fmt::Display for Http {
    /// `14:03:59.120 1234 nginx server 127.0.0.1:80 <- 127.0.0.1:5000 GET /index 200 512 B 1.25 ms`
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.traffic.fmt_prefix(formatter)?;
        match &self.request {
            Some(request) => write!(formatter, " {} {}", request.method, request.path)?,
            None => formatter.write_str(" ? ?")?,
        }
        match &self.response {
            Some(response) => write!(formatter, " {} {} B", response.status, response.body.size)?,
            None => formatter.write_str(" no response")?,
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

/// The fields of a message, in the order in which they were sent, repeated ones too.
///
/// They are kept as one piece of memory. Names compare without regard to case.
///
/// ```
/// use pixie_core::record::HeadersBuilder;
///
/// let mut builder = HeadersBuilder::new(b"Host: a.test\r\n"[..].into());
/// builder.push(0..4, 6..12);
/// let headers = builder.build();
/// assert_eq!(headers.get("host"), Some(&b"a.test"[..]));
/// ```
#[derive(Clone, Default)]
pub struct Headers {
    buffer: Bytes,
    fields: Vec<FieldRange>,
}

#[derive(Clone, Copy, Debug)]
struct FieldRange {
    name: (u32, u32),
    value: (u32, u32),
}

impl Headers {
    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The fields as name and value, as sent.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|field| (self.slice(field.name), self.slice(field.value)))
    }

    /// The value of the first field of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let mut values = self.get_all(name);
        values.next()
    }

    /// The values of every field of this name.
    pub fn get_all<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.iter()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// Removes the values of fields that carry credentials and, where that is asked for, the
    /// queries of addresses.
    pub(super) fn redact(&mut self, redaction: &Redaction) {
        const ADDRESSES: [&[u8]; 3] = [b"referer", b"location", b"content-location"];
        let value = |name: &[u8], value: &[u8]| {
            if redaction.names(name) {
                REDACTED.into()
            } else if redaction.removes_queries()
                && ADDRESSES.iter().any(|field| field.eq_ignore_ascii_case(name))
            {
                without_query(value)
            } else {
                value.to_vec()
            }
        };
        *self = self.iter().map(|(name, old)| (name, value(name, old))).collect();
    }

    fn slice(&self, (start, end): (u32, u32)) -> &[u8] {
        self.buffer.get(start as usize..end as usize).unwrap_or_default()
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let mut buffer = Vec::new();
        let mut ranges = Vec::new();
        for (name, value) in fields {
            let start = buffer.len();
            buffer.extend_from_slice(name.as_ref());
            let middle = buffer.len();
            buffer.extend_from_slice(value.as_ref());
            ranges.push((start..middle, middle..buffer.len()));
        }
        let mut builder = HeadersBuilder::new(buffer.into());
        for (name, value) in ranges {
            builder.push(name, value);
        }
        builder.build()
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers {}

impl fmt::Debug for Headers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self
            .iter()
            .map(|(name, value)| (String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
        formatter.debug_map().entries(fields).finish()
    }
}

/// Builds [`Headers`] from the places of names and values in a message's head.
#[derive(Debug)]
pub struct HeadersBuilder {
    buffer: Bytes,
    fields: Vec<FieldRange>,
}

impl HeadersBuilder {
    /// Fields that lie in `buffer`.
    #[must_use]
    #[inline]
    pub fn new(buffer: Bytes) -> Self {
        Self { buffer, fields: Vec::new() }
    }

    /// Makes room for this many fields at once.
    #[must_use]
    pub fn with_capacity(mut self, fields: usize) -> Self {
        match self.fields.capacity() {
            0 => self.fields = Vec::with_capacity(fields),
            _ => self.fields.reserve_exact(fields),
        }
        self
    }

    /// Adds the field whose name and value are at these places. What lies beyond the buffer reads
    /// as empty.
    #[inline]
    pub fn push(&mut self, name: std::ops::Range<usize>, value: std::ops::Range<usize>) {
        let range = |range: std::ops::Range<usize>| (clamp(range.start), clamp(range.end));
        self.fields.push(FieldRange { name: range(name), value: range(value) });
    }

    /// The fields.
    #[must_use]
    pub fn build(self) -> Headers {
        Headers { buffer: self.buffer, fields: self.fields }
    }

    /// The fields, in `buffer` instead: for a decoder that finds their places before it has a
    /// buffer to keep.
    #[must_use]
    #[inline]
    pub fn build_in(self, buffer: Bytes) -> Headers {
        Headers { buffer, fields: self.fields }
    }
}

fn clamp(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

#[cfg(feature = "serde")]
mod serialize {
    use super::{Body, BodyDecoding, Headers, Http, HttpRequest, HttpResponse};
    use crate::record::Entries;
    use crate::record::serialize::{base64, text_of};
    use serde::ser::{Serialize, SerializeMap, Serializer};

    impl Entries for Http {
        fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
            self.traffic.entries(map)?;
            map.serialize_entry("request", &self.request)?;
            map.serialize_entry("response", &self.response)
        }
    }

    impl Serialize for HttpRequest {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("method", &self.method)?;
            map.serialize_entry("path", &self.path)?;
            map.serialize_entry("version", self.version.as_str())?;
            fields_and_body(&mut map, &self.headers, &self.trailers, &self.body)?;
            map.end()
        }
    }

    impl Serialize for HttpResponse {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("status", &self.status)?;
            map.serialize_entry("reason", &self.reason)?;
            map.serialize_entry("version", self.version.as_str())?;
            if !self.interim.is_empty() {
                map.serialize_entry("interim", &self.interim)?;
            }
            fields_and_body(&mut map, &self.headers, &self.trailers, &self.body)?;
            map.end()
        }
    }

    fn fields_and_body<M: SerializeMap>(
        map: &mut M,
        headers: &Headers,
        trailers: &Headers,
        body: &Body,
    ) -> Result<(), M::Error> {
        map.serialize_entry("headers", headers)?;
        if !trailers.is_empty() {
            map.serialize_entry("trailers", trailers)?;
        }
        body.entries(map)
    }

    /// Pairs of name and value, because names repeat and their order can matter.
    impl Serialize for Headers {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let text = String::from_utf8_lossy;
            serializer.collect_seq(self.iter().map(|(name, value)| (text(name), text(value))))
        }
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
        fn as_str(self) -> &'static str {
            match self {
                Self::None => "none",
                Self::Decoded => "decoded",
                Self::Partial => "partial",
                Self::Failed => "failed",
            }
        }
    }
}
