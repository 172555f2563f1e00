//! The fields of a message's head or trailers.

use crate::record::heap::{flat, heap};
use crate::sinks::{REDACTED, Redaction};
use bytes::Bytes;
use std::fmt;
use std::ops::Range;

/// The fields of a message, in the order in which they were sent, repeated ones too.
///
/// They are kept as one piece of memory. Names compare without regard to case.
///
/// HTTP/2 compresses fields by reference to earlier ones. Where these were not seen, because the
/// connection was joined midway or bytes were lost, a field is there but its value, or its name as
/// well, is not known: [`Headers::iter`] leaves it out, and [`Headers::fields`] has it.
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
    /// There may be fields that were not seen at all.
    incomplete: bool,
}

/// Where the name and the value of a field are.
#[derive(Clone, Copy, Debug)]
struct FieldRange {
    name: (u32, u32),
    value: (u32, u32),
}

/// The place of what is not known: one that cannot be.
const UNKNOWN: (u32, u32) = (u32::MAX, 0);

/// A field of which not everything may be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Field<'a> {
    /// The name, as sent; `None` when it could not be known.
    pub name: Option<&'a [u8]>,
    /// The value, as sent; `None` when it could not be known.
    pub value: Option<&'a [u8]>,
}

impl Headers {
    /// No fields, because none could be seen.
    #[must_use]
    pub fn unseen() -> Self {
        Self { incomplete: true, ..Self::default() }
    }

    /// How many fields there are, known or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// False when there may be more fields, of which nothing could be seen: a part of the head was
    /// lost, or it was larger than what is kept.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.incomplete
    }

    /// The fields that are known, as name and value, as sent.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields().filter_map(|field| Some((field.name?, field.value?)))
    }

    /// All fields, also those of which something could not be known.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = Field<'_>> {
        let field = |field: &FieldRange| Field {
            name: self.slice(field.name),
            value: self.slice(field.value),
        };
        self.fields.iter().map(field)
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

    /// Removes the values of fields that carry credentials, or may, and, where that is asked for,
    /// the queries of addresses.
    pub(super) fn redact(&mut self, redaction: &Redaction) {
        const ADDRESSES: [&[u8]; 3] = [b"referer", b"location", b"content-location"];
        let redacted = |name: &[u8], value: &[u8]| {
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
        let mut collector = Collector::default();
        for Field { name, value } in self.fields() {
            let value = match (name, value) {
                (Some(name), Some(value)) => Some(redacted(name, value)),
                // What it is called is not known, so it may be anything.
                (None, Some(_)) if *redaction != Redaction::none() => Some(REDACTED.into()),
                (_, value) => value.map(<[u8]>::to_vec),
            };
            collector.push(name, value.as_deref());
        }
        let incomplete = self.incomplete;
        *self = collector.build();
        self.incomplete = incomplete;
    }

    #[inline]
    fn slice(&self, (start, end): (u32, u32)) -> Option<&[u8]> {
        if (start, end) == UNKNOWN {
            return None;
        }
        Some(self.buffer.get(start as usize..end as usize).unwrap_or_default())
    }
}

/// The address with everything after its first `?` replaced.
pub(super) fn without_query(address: &[u8]) -> Vec<u8> {
    match address.iter().position(|byte| *byte == b'?') {
        Some(mark) => [address.get(..=mark).unwrap_or_default(), REDACTED.as_bytes()].concat(),
        None => address.to_vec(),
    }
}

/// Copies fields into one piece of memory.
#[derive(Default)]
struct Collector {
    buffer: Vec<u8>,
    fields: Vec<FieldRange>,
}

impl Collector {
    fn push(&mut self, name: Option<&[u8]>, value: Option<&[u8]>) {
        let field = FieldRange { name: self.copy(name), value: self.copy(value) };
        self.fields.push(field);
    }

    fn copy(&mut self, part: Option<&[u8]>) -> (u32, u32) {
        let Some(part) = part else { return UNKNOWN };
        let start = self.buffer.len();
        self.buffer.extend_from_slice(part);
        (clamp(start), clamp(self.buffer.len()))
    }

    fn build(self) -> Headers {
        Headers { buffer: self.buffer.into(), fields: self.fields, incomplete: false }
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let mut collector = Collector::default();
        for (name, value) in fields {
            collector.push(Some(name.as_ref()), Some(value.as_ref()));
        }
        collector.build()
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.incomplete == other.incomplete && self.fields().eq(other.fields())
    }
}

impl Eq for Headers {}

impl fmt::Debug for Headers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |part: Option<&[u8]>| match part {
            Some(part) => String::from_utf8_lossy(part).into_owned(),
            None => "(unknown)".to_owned(),
        };
        let fields = self.fields().map(|field| (text(field.name), text(field.value)));
        formatter.debug_map().entries(fields).finish()
    }
}

/// Builds [`Headers`] from the places of names and values in a message's head.
#[derive(Debug)]
pub struct HeadersBuilder {
    buffer: Bytes,
    fields: Vec<FieldRange>,
    incomplete: bool,
}

impl HeadersBuilder {
    /// Fields that lie in `buffer`.
    #[must_use]
    #[inline]
    pub fn new(buffer: Bytes) -> Self {
        Self { buffer, fields: Vec::new(), incomplete: false }
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
    pub fn push(&mut self, name: Range<usize>, value: Range<usize>) {
        self.push_known(Some(name), Some(value));
    }

    /// Adds a field of which the name or the value may not be known.
    #[inline]
    pub fn push_known(&mut self, name: Option<Range<usize>>, value: Option<Range<usize>>) {
        let place = |range: Option<Range<usize>>| match range {
            Some(range) => (clamp(range.start), clamp(range.end)),
            None => UNKNOWN,
        };
        self.fields.push(FieldRange { name: place(name), value: place(value) });
    }

    /// Says that there may be fields that were not seen.
    pub fn set_incomplete(&mut self) {
        self.incomplete = true;
    }

    /// The fields.
    #[must_use]
    pub fn build(self) -> Headers {
        let Self { buffer, fields, incomplete } = self;
        Headers { buffer, fields, incomplete }
    }

    /// The fields, in `buffer` instead: for a decoder that finds their places before it has a
    /// buffer to keep.
    #[must_use]
    #[inline]
    pub fn build_in(self, buffer: Bytes) -> Headers {
        Headers { buffer, fields: self.fields, incomplete: self.incomplete }
    }
}

fn clamp(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

flat! { FieldRange }
heap! { Headers { buffer, fields } }

#[cfg(feature = "serde")]
mod serialize {
    use super::Headers;
    use serde::ser::{Serialize, SerializeMap, Serializer};

    impl Headers {
        /// Adds the fields under this name, and whether some may be missing.
        pub(in crate::record) fn entries<M: SerializeMap>(
            &self,
            name: &str,
            map: &mut M,
        ) -> Result<(), M::Error> {
            map.serialize_entry(name, self)?;
            if !self.is_complete() {
                map.serialize_entry(&format!("{name}_complete"), &false)?;
            }
            Ok(())
        }
    }

    /// Pairs of name and value, because names repeat and their order can matter. What is not known
    /// is null.
    impl Serialize for Headers {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let text = |part: Option<_>| part.map(String::from_utf8_lossy);
            let pairs = self.fields().map(|field| (text(field.name), text(field.value)));
            serializer.collect_seq(pairs)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a: b`, a name whose value is not known, and a value whose name is not.
    fn partly_known() -> Headers {
        let mut builder = HeadersBuilder::new(b"abcsecret"[..].into());
        builder.push(0..1, 1..2);
        builder.push_known(Some(2..3), None);
        builder.push_known(None, Some(3..9));
        builder.set_incomplete();
        builder.build()
    }

    #[test]
    fn what_is_not_known_is_not_among_the_known() {
        let headers = partly_known();
        assert_eq!(headers.len(), 3);
        assert_eq!(headers.iter().collect::<Vec<_>>(), [(&b"a"[..], &b"b"[..])]);
        assert_eq!(headers.get("c"), None);
        let fields: Vec<_> = headers.fields().collect();
        assert_eq!((fields[1].name, fields[1].value), (Some(&b"c"[..]), None));
        assert_eq!((fields[2].name, fields[2].value), (None, Some(&b"secret"[..])));
        assert_ne!(headers, [("a", "b")].into_iter().collect());
    }

    #[test]
    fn a_value_without_a_name_may_be_a_credential() {
        let mut headers = partly_known();
        headers.redact(&Redaction::default());
        assert!(!format!("{headers:?}").contains("secret"), "{headers:?}");
        assert!(!headers.is_complete());
        assert_eq!(headers.fields().nth(1).unwrap().value, None);
        let mut kept = partly_known();
        kept.redact(&Redaction::none());
        assert_eq!(kept, partly_known());
    }
}
