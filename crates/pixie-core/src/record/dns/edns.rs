use super::DnsData;
use crate::Text;
use crate::record::heap::{Heap, heap};
use bytes::Bytes;
use std::fmt;
use std::net::IpAddr;

/// EDNS(0): what the sender can do beyond RFC 1035 (RFC 6891, section 6.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DnsEdns {
    /// The version; 0 so far.
    pub version: u8,
    /// The largest datagram that the sender can take, in bytes.
    pub udp_size: u16,
    /// DO: signatures are wanted (RFC 3225).
    pub dnssec_ok: bool,
    /// The options, in order.
    pub options: Vec<DnsOption>,
}

/// An option of EDNS(0).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DnsOption {
    /// For whom a resolver asks (RFC 7871).
    ClientSubnet {
        /// The network; the bits beyond the prefix are zero.
        address: IpAddr,
        /// How many bits of it are told.
        source_prefix: u8,
        /// To how many bits the answer applies.
        scope_prefix: u8,
    },
    /// A cookie: the client's 8 bytes, and the server's 8 to 32 (RFC 7873).
    Cookie(Bytes),
    /// More about an error (RFC 8914).
    ExtendedError {
        /// The kind of error.
        code: u16,
        /// The server's own words.
        text: Text,
    },
    /// Any other, or one that is not formed as it should be.
    Other {
        /// Its number.
        code: u16,
        /// Its data.
        data: Bytes,
    },
}

impl DnsOption {
    /// Its number (<https://www.iana.org/assignments/dns-parameters>, EDNS0 option codes).
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::ClientSubnet { .. } => 8,
            Self::Cookie(_) => 10,
            Self::ExtendedError { .. } => 15,
            Self::Other { code, .. } => *code,
        }
    }

    /// Its name in the JSON form, where it has one.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        Some(match self.code() {
            1 => "llq",
            2 => "update_lease",
            3 => "nsid",
            5 => "dau",
            6 => "dhu",
            7 => "n3u",
            8 => "client_subnet",
            9 => "expire",
            10 => "cookie",
            11 => "tcp_keepalive",
            12 => "padding",
            13 => "chain",
            14 => "key_tag",
            15 => "extended_error",
            18 => "report_channel",
            19 => "zoneversion",
            _ => return None,
        })
    }
}

impl fmt::Display for DnsOption {
    /// What it says: `192.0.2.0/24/0`, `3 (stale answer)`, or its data in hexadecimal digits.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientSubnet { address, source_prefix, scope_prefix } => {
                write!(formatter, "{address}/{source_prefix}/{scope_prefix}")
            }
            Self::ExtendedError { code, text } if text.is_empty() => write!(formatter, "{code}"),
            Self::ExtendedError { code, text } => write!(formatter, "{code} ({text})"),
            Self::Cookie(data) | Self::Other { data, .. } => DnsData::fmt_hex(data, formatter),
        }
    }
}

heap! { DnsEdns { options } }

impl Heap for DnsOption {
    fn heap(&self) -> usize {
        match self {
            Self::Cookie(data) | Self::Other { data, .. } => data.heap(),
            Self::ExtendedError { text, .. } => text.heap(),
            Self::ClientSubnet { .. } => 0,
        }
    }
}
