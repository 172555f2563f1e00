use super::{DnsResourceRecord, DnsType};
use crate::Text;
use crate::record::heap::{Heap, heap};
use bytes::Bytes;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// What a resource record tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DnsData {
    /// `A`: an IPv4 address.
    A(Ipv4Addr),
    /// `AAAA`: an IPv6 address (RFC 3596).
    Aaaa(Ipv6Addr),
    /// `NS`, `CNAME`, `PTR`, `DNAME` and others that are a name.
    Name(Text),
    /// `MX`: who takes mail.
    Mx {
        /// The lowest is tried first.
        preference: u16,
        /// The host.
        exchange: Text,
    },
    /// `SRV`: who offers a service (RFC 2782).
    Srv {
        /// The lowest is tried first.
        priority: u16,
        /// The share among those of one priority.
        weight: u16,
        /// The port of the service.
        port: u16,
        /// The host.
        target: Text,
    },
    /// `TXT` and `SPF`: strings, each without its length.
    Txt(Vec<Text>),
    /// `SOA`: the start of a zone.
    Soa(Box<DnsSoa>),
    /// Any other: the data as sent, within which no name is compressed (RFC 3597, section 4). Empty
    /// where there is none, as in some records of an update.
    Other(Bytes),
}

/// The start of a zone of authority (RFC 1035, section 3.3.13). Intervals are in seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DnsSoa {
    /// The server that the data come from.
    pub primary: Text,
    /// The mailbox of whoever is responsible, as a name.
    pub mailbox: Text,
    /// The version of the zone.
    pub serial: u32,
    /// How often secondary servers look for a new version.
    pub refresh: u32,
    /// How soon they try again.
    pub retry: u32,
    /// When they give the zone up.
    pub expire: u32,
    /// For how long it may be kept that a name does not exist (RFC 2308).
    pub minimum: u32,
}

impl Default for DnsData {
    fn default() -> Self {
        Self::Other(Bytes::new())
    }
}

impl DnsResourceRecord {
    /// The data in presentation form, as in a zone file, but without the dot at the end of names:
    /// `10 mail.example.com`. What has no such form that we know is in that of RFC 3597:
    /// `\# 2 0a0b`.
    pub fn presentation(&self) -> impl fmt::Display + '_ {
        Presentation { kind: self.kind, data: &self.data }
    }
}

struct Presentation<'a> {
    kind: DnsType,
    data: &'a DnsData,
}

impl fmt::Display for Presentation<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.data {
            DnsData::A(address) => address.fmt(formatter),
            DnsData::Aaaa(address) => address.fmt(formatter),
            DnsData::Name(name) => name.fmt(formatter),
            DnsData::Mx { preference, exchange } => write!(formatter, "{preference} {exchange}"),
            DnsData::Srv { priority, weight, port, target } => {
                write!(formatter, "{priority} {weight} {port} {target}")
            }
            DnsData::Txt(strings) => {
                for (place, string) in strings.iter().enumerate() {
                    let space = if place == 0 { "" } else { " " };
                    write!(formatter, "{space}{}", quoted(string.as_bytes()))?;
                }
                Ok(())
            }
            DnsData::Soa(soa) => soa.fmt(formatter),
            DnsData::Other(bytes) => match super::presentation::of(self.kind, bytes) {
                Some(text) => formatter.write_str(&text),
                None => {
                    write!(formatter, "\\# {}", bytes.len())?;
                    let space = if bytes.is_empty() { "" } else { " " };
                    formatter.write_str(space)?;
                    DnsData::fmt_hex(bytes, formatter)
                }
            },
        }
    }
}

impl DnsData {
    pub(super) fn fmt_hex(bytes: &[u8], formatter: &mut impl fmt::Write) -> fmt::Result {
        bytes.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Display for DnsSoa {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { primary, mailbox, serial, refresh, retry, expire, minimum } = self;
        write!(formatter, "{primary} {mailbox} {serial} {refresh} {retry} {expire} {minimum}")
    }
}

/// A string in quotes (RFC 1035, section 5.1).
pub(super) fn quoted(bytes: &[u8]) -> String {
    let mut text = vec![b'"'];
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => text.extend([b'\\', byte]),
            b' '..=b'~' => text.push(byte),
            _ => push_number(byte, &mut text),
        }
    }
    text.push(b'"');
    String::from_utf8(text).unwrap_or_default()
}

/// Adds one label of a domain name in presentation form (RFC 1035, section 5.1): what has a meaning
/// in zone files is escaped by a backslash, what cannot be printed is a backslash and three digits.
///
/// ```
/// let mut text = Vec::new();
/// pixie_core::record::push_dns_label(b"a.b c", &mut text);
/// assert_eq!(text, br"a\.b\032c");
/// ```
#[inline]
pub fn push_dns_label(label: &[u8], text: &mut Vec<u8>) {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if label.iter().all(is_plain) {
        text.extend_from_slice(label);
        return;
    }
    for &byte in label {
        match byte {
            b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => text.extend([b'\\', byte]),
            b'!'..=b'~' => text.push(byte),
            _ => push_number(byte, text),
        }
    }
}

fn push_number(byte: u8, text: &mut Vec<u8>) {
    text.extend([b'\\', b'0' + byte / 100, b'0' + byte / 10 % 10, b'0' + byte % 10]);
}

heap! { DnsSoa { primary, mailbox } }

impl Heap for DnsData {
    fn heap(&self) -> usize {
        match self {
            Self::Name(name) => name.heap(),
            Self::Mx { exchange, .. } => exchange.heap(),
            Self::Srv { target, .. } => target.heap(),
            Self::Txt(strings) => strings.heap(),
            Self::Soa(soa) => soa.heap(),
            Self::Other(bytes) => bytes.heap(),
            Self::A(_) | Self::Aaaa(_) => 0,
        }
    }
}
