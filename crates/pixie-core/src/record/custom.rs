use super::Traffic;
use crate::record::heap::{Heap, heap};
use crate::sinks::{REDACTED, Redaction};
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt;

/// An exchange of a protocol whose parser was supplied by the user.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Custom {
    /// What all traffic records have in common.
    pub traffic: Traffic,
    /// The name of the protocol.
    pub protocol: Cow<'static, str>,
    /// The request, field by field.
    pub request: Vec<(Cow<'static, str>, Value)>,
    /// The response, field by field.
    pub response: Vec<(Cow<'static, str>, Value)>,
    /// What went wrong, where the protocol says that something did.
    pub error: Option<String>,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A whole number that is never negative.
    Unsigned(u64),
    /// A floating-point number.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes; shown in base64 in the JSON form.
    Bytes(Bytes),
    /// A sequence of values.
    List(Vec<Value>),
}

impl Custom {
    /// An exchange without fields.
    #[must_use]
    pub fn new(traffic: Traffic, protocol: impl Into<Cow<'static, str>>) -> Self {
        Self { traffic, protocol: protocol.into(), ..Self::default() }
    }

    /// True when [`Custom::error`] is set.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.error.is_some()
    }

    /// Removes the values of the fields that are to be removed by name.
    pub(crate) fn redact(&mut self, redaction: &Redaction) {
        for (name, value) in self.request.iter_mut().chain(&mut self.response) {
            if redaction.names(name.as_bytes()) {
                *value = Value::Text(REDACTED.to_owned());
            }
        }
    }
}

impl fmt::Display for Custom {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.traffic.fmt_prefix(formatter)?;
        write!(formatter, " {}", self.protocol)?;
        for (name, value) in self.request.iter().chain(&self.response) {
            write!(formatter, " {name}={value}")?;
        }
        if let Some(error) = &self.error {
            write!(formatter, " error={error}")?;
        }
        self.traffic.fmt_latency(formatter)
    }
}

macro_rules! value_from {
    ($($type:ty => $variant:ident,)+) => {
        $(impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        })+
    };
}

value_from! {
    bool => Bool,
    i64 => Integer,
    u64 => Unsigned,
    u32 => Unsigned,
    f64 => Float,
    String => Text,
    &str => Text,
    Bytes => Bytes,
    Vec<Value> => List,
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(formatter),
            Self::Integer(value) => value.fmt(formatter),
            Self::Unsigned(value) => value.fmt(formatter),
            Self::Float(value) => value.fmt(formatter),
            Self::Text(value) => value.fmt(formatter),
            Self::Bytes(value) => write!(formatter, "{} bytes", value.len()),
            Self::List(values) => formatter.debug_list().entries(values).finish(),
        }
    }
}

heap! { Custom { protocol, request, response, error } }

impl Heap for Value {
    fn heap(&self) -> usize {
        match self {
            Self::Text(text) => text.heap(),
            Self::Bytes(bytes) => bytes.heap(),
            Self::List(values) => values.heap(),
            _ => 0,
        }
    }
}

#[cfg(feature = "serde")]
mod serialize {
    use super::{Custom, Value};
    use crate::record::Entries;
    use crate::record::serialize::base64;
    use serde::ser::{Serialize, SerializeMap, Serializer};
    use std::borrow::Cow;

    impl Entries for Custom {
        fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
            self.traffic.entries(map)?;
            map.serialize_entry("protocol", &self.protocol)?;
            map.serialize_entry("request", &Fields(&self.request))?;
            map.serialize_entry("response", &Fields(&self.response))?;
            map.serialize_entry("error", &self.error)
        }
    }

    /// The fields of a half as one object; of fields with the same name a reader keeps one.
    struct Fields<'a>(&'a [(Cow<'static, str>, Value)]);

    impl Serialize for Fields<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
        }
    }

    impl Serialize for Value {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self {
                Self::Bool(value) => serializer.serialize_bool(*value),
                Self::Integer(value) => serializer.serialize_i64(*value),
                Self::Unsigned(value) => serializer.serialize_u64(*value),
                Self::Float(value) => serializer.serialize_f64(*value),
                Self::Text(value) => serializer.serialize_str(value),
                Self::Bytes(value) => serializer.serialize_str(&base64(value)),
                Self::List(values) => serializer.collect_seq(values),
            }
        }
    }
}
