//! Records: everything that can be emitted into a [`Sink`](crate::Sink).
//!
//! One file a kind. To add a kind, write its file and add its line to the list below.

mod connection;
mod custom;
mod dns;
mod grpc;
mod headers;
mod heap;
mod http;
mod lost;
mod postgres;
mod redis;
#[cfg(feature = "serde")]
mod serialize;
mod sql;
mod stack;
mod tls_handshake;
mod traffic;
mod websocket;

pub use connection::{Address, CgroupId, Connection, Process, Proxied};
pub use custom::{Custom, Value};
pub use dns::{
    Dns, DnsClass, DnsData, DnsEdns, DnsMessage, DnsOpcode, DnsOption, DnsQuestion, DnsRcode,
    DnsResourceRecord, DnsSoa, DnsType, push_dns_label,
};
pub use grpc::{Grpc, GrpcMessage, GrpcMessages, GrpcRequest, GrpcResponse, GrpcStatus};
pub use headers::{Field, Headers, HeadersBuilder};
pub use http::{Body, BodyDecoding, Http, Http2Error, HttpRequest, HttpResponse, HttpVersion};
pub use lost::{Cause, Lost, Stage};
pub use postgres::{
    Postgres, PostgresColumns, PostgresColumnsBuilder, PostgresCommand, PostgresCopy,
    PostgresCopyDirection, PostgresMessage, PostgresNotification, PostgresParameter,
    PostgresRequest, PostgresResponse, PostgresStatement, PostgresTransaction,
};
pub use redis::{
    Redis, RedisArgument, RedisArguments, RedisArgumentsBuilder, RedisRequest, RedisResponse,
    RedisType, RedisValue,
};
pub use stack::{Frame, Stack, StackState};
pub use tls_handshake::{
    TlsAlert, TlsAlertDescription, TlsCipher, TlsClientHello, TlsGroup, TlsHandshake,
    TlsServerHello, TlsVersion,
};
pub use traffic::{Timing, Traffic};
pub use websocket::{WebSocket, WebSocketOpcode};

use crate::sinks::Redaction;
#[cfg(feature = "serde")]
use serialize::Entries;

/// Declares [`Record`] and [`RecordKind`] from the list of kinds.
macro_rules! records {
    (
        traffic { $($traffic:ident $traffic_name:literal $traffic_doc:literal,)+ }
        others { $($other:ident $other_name:literal $other_doc:literal,)+ }
    ) => {
        /// One thing that was observed.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum Record {
            $(#[doc = $traffic_doc] $traffic(Box<$traffic>),)+
            $(#[doc = $other_doc] $other(Box<$other>),)+
        }

        /// The kind of a [`Record`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum RecordKind {
            $(#[doc = $traffic_doc] $traffic,)+
            $(#[doc = $other_doc] $other,)+
        }

        impl RecordKind {
            /// Every kind there is.
            pub const ALL: &[Self] = &[$(Self::$traffic,)+ $(Self::$other,)+];

            /// The name of the kind in the JSON form, in snake case.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$traffic => $traffic_name,)+
                    $(Self::$other => $other_name,)+
                }
            }
        }

        impl Record {
            /// Which kind of record this is.
            #[must_use]
            pub fn kind(&self) -> RecordKind {
                match self {
                    $(Self::$traffic(_) => RecordKind::$traffic,)+
                    $(Self::$other(_) => RecordKind::$other,)+
                }
            }

            /// What all traffic records have in common; `None` for the other kinds.
            #[must_use]
            pub fn traffic(&self) -> Option<&Traffic> {
                match self {
                    $(Self::$traffic(record) => Some(&record.traffic),)+
                    _ => None,
                }
            }

            /// The same, to change it.
            pub fn traffic_mut(&mut self) -> Option<&mut Traffic> {
                match self {
                    $(Self::$traffic(record) => Some(&mut record.traffic),)+
                    _ => None,
                }
            }

            /// About how many bytes of memory the record takes, without what it shares with others:
            /// the process, the connection, and the names in a stack.
            #[must_use]
            pub fn memory(&self) -> usize {
                use heap::Heap as _;
                size_of::<Self>() + match self {
                    $(Self::$traffic(record) => record.heap(),)+
                    $(Self::$other(record) => record.heap(),)+
                }
            }

            /// True when the exchange failed, as its own protocol says (an HTTP status of 400 or
            /// more, say). False for records that are not traffic.
            #[must_use]
            pub fn is_error(&self) -> bool {
                match self {
                    $(Self::$traffic(record) => record.is_error(),)+
                    _ => false,
                }
            }
        }

        impl Record {
            /// Removes what `redaction` says from the fields of a traffic record.
            pub(crate) fn redact(&mut self, redaction: &Redaction) {
                match self {
                    $(Self::$traffic(record) => record.redact(redaction),)+
                    _ => {}
                }
            }
        }

        $(impl From<$traffic> for Record {
            fn from(record: $traffic) -> Self {
                Self::$traffic(Box::new(record))
            }
        })+
        $(impl From<$other> for Record {
            fn from(record: $other) -> Self {
                Self::$other(Box::new(record))
            }
        })+

        impl std::fmt::Display for Record {
            /// One line for people to read.
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $(Self::$traffic(record) => record.fmt(formatter),)+
                    $(Self::$other(record) => record.fmt(formatter),)+
                }
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for Record {
            /// The JSON form of the record: one object, `"kind"` first.
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Self::$traffic(record) => record.serialize(serializer),)+
                    $(Self::$other(record) => record.serialize(serializer),)+
                }
            }
        }

        $(#[cfg(feature = "serde")]
        impl serde::Serialize for $traffic {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serialize::tagged($traffic_name, self, serializer)
            }
        })+
        $(#[cfg(feature = "serde")]
        impl serde::Serialize for $other {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serialize::tagged($other_name, self, serializer)
            }
        })+
    };
}

records! {
    traffic {
        Http "http" "An HTTP exchange.",
        Grpc "grpc" "A gRPC call.",
        Redis "redis" "A Redis command with its answer, or a message that a Redis server pushed.",
        Dns "dns" "A DNS query and the response to it, or a message of multicast DNS.",
        Postgres "postgres" "A PostgreSQL statement with its answer, or a message of the server that answers none.",
        TlsHandshake "tls_handshake" "A TLS handshake.",
        WebSocket "websocket" "A message on a WebSocket.",
        Custom "custom" "An exchange of a protocol whose parser was supplied by the user.",
    }
    others {
        Stack "stack" "A call stack and how often it was sampled.",
        Lost "lost" "Something that was lost, and why.",
    }
}
