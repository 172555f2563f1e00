//! What a header block says of a request or a response (RFC 9113, section 8.3).

use super::hpack::{Field, FieldList};
use bytes::Bytes;
use pixie_core::Text;
use pixie_core::record::{Headers, HeadersBuilder};
use std::ops::Range;

/// The fields of a header block.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Empty where it is not known.
    pub(super) method: Text,
    pub(super) path: Text,
    /// 0 where it is not known.
    pub(super) status: u16,
    /// It has fields that only the head of a request or of a response has, and not the trailers.
    pub(super) has_pseudo: bool,
    /// It is no head but trailers: its first field is known, and none that comes first in a head.
    pub(super) is_trailers: bool,
    /// All other fields, with `:authority`, `:scheme` and `:protocol`.
    pub(super) headers: Headers,
    pub(super) content_length: Option<u64>,
    /// There is a `content-encoding`.
    pub(super) coded: bool,
    content_type: Option<Range<usize>>,
    /// There are, or may be, fields of which the name or the value is not known.
    pub(super) has_unknown: bool,
    /// What the places are in.
    bytes: Bytes,
}

impl Head {
    /// Of the fields in `list`, whose memory is taken.
    pub(super) fn new(list: &mut FieldList) -> Self {
        let mut head = Self { bytes: std::mem::take(&mut list.bytes).into(), ..Self::default() };
        let mut builder = HeadersBuilder::new(head.bytes.clone()).with_capacity(list.fields.len());
        let mut authority = None;
        let first = list.fields.first().and_then(|field| field.name.clone());
        head.is_trailers = first.is_some_and(|name| !is_pseudo(&head.bytes, name));
        for field in list.fields.drain(..) {
            head.has_unknown |= field.name.is_none() || field.value.is_none();
            let Field { name: Some(name), value } = field else {
                builder.push_known(None, field.value);
                continue;
            };
            let is_kept = match head.bytes.get(name.clone()) {
                Some(pseudo) if pseudo.starts_with(b":") => {
                    head.has_pseudo = true;
                    let (name, value) = (name.clone(), value.clone());
                    head.pseudo(name, value, &mut authority)
                }
                _ => {
                    head.note(name.clone(), value.clone());
                    true
                }
            };
            if is_kept {
                builder.push_known(Some(name), value);
            }
        }
        // A request to a proxy for a connection has no path (RFC 9113, section 8.5).
        if head.path.is_empty() && head.method == "CONNECT" {
            head.path = authority.map(|place| head.text(place)).unwrap_or_default();
        }
        head.has_unknown |= list.incomplete;
        if list.incomplete {
            builder.set_incomplete();
        }
        head.headers = builder.build();
        head
    }

    /// Takes note of a pseudo-header field; true when it is to be kept among the others.
    fn pseudo(
        &mut self,
        name: Range<usize>,
        value: Option<Range<usize>>,
        authority: &mut Option<Range<usize>>,
    ) -> bool {
        let known = value.clone().unwrap_or_default();
        match self.slice(&name) {
            b":method" => self.method = self.method_text(known),
            b":path" => self.path = self.text(known),
            b":status" => self.status = status(self.slice(&known)),
            b":authority" => {
                *authority = value;
                return true;
            }
            _ => return true,
        }
        false
    }

    /// Takes note of a field that says how the body is to be read.
    fn note(&mut self, name: Range<usize>, value: Option<Range<usize>>) {
        let Some(value) = value else { return };
        match self.slice(&name) {
            b"content-length" => {
                let digits = std::str::from_utf8(self.slice(&value)).ok();
                self.content_length = digits.and_then(|digits| digits.parse().ok());
            }
            b"content-encoding" => self.coded = true,
            b"content-type" => self.content_type = Some(value),
            _ => {}
        }
    }

    /// The value of `content-type`.
    pub(super) fn content_type(&self) -> Option<&[u8]> {
        self.content_type.as_ref().map(|place| self.slice(place))
    }

    /// Bytes of memory that are held.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() + self.headers.len() * size_of::<[u32; 4]>()
    }

    /// A method, without memory of its own if it is a usual one.
    fn method_text(&self, place: Range<usize>) -> Text {
        match self.slice(&place) {
            b"GET" => Text::from_bytes(Bytes::from_static(b"GET")),
            b"POST" => Text::from_bytes(Bytes::from_static(b"POST")),
            _ => self.text(place),
        }
    }

    fn text(&self, place: Range<usize>) -> Text {
        let is_there = place.end <= self.bytes.len() && place.start < place.end;
        let bytes = if is_there { self.bytes.slice(place) } else { Bytes::new() };
        Text::from_bytes(bytes)
    }

    fn slice(&self, place: &Range<usize>) -> &[u8] {
        self.bytes.get(place.clone()).unwrap_or_default()
    }
}

fn is_pseudo(bytes: &[u8], name: Range<usize>) -> bool {
    bytes.get(name).is_some_and(|name| name.starts_with(b":"))
}

/// Three digits.
fn status(value: &[u8]) -> u16 {
    match value {
        [hundreds @ b'1'..=b'9', tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            let digit = |byte: u8| u16::from(byte - b'0');
            digit(*hundreds) * 100 + digit(*tens) * 10 + digit(*ones)
        }
        _ => 0,
    }
}
