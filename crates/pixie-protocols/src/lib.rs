//! Protocol parsers: the bytes of a connection in, typed records out.
//!
//! ```text
//!   transfers ──► stream ──► detect ──► parser ──► records
//!                in order,   which      one a
//!                with gaps   protocol   protocol
//! ```
//!
//! - [`stream`] puts one direction of a connection in order;
//! - [`detect`] finds which protocol of the [`registry`] is spoken;
//! - [`parser`] is the contract that every protocol fulfils, ours and a user's;
//! - one folder for each protocol: [`dns`], [`http1`], [`http2`] (with gRPC), [`postgres`],
//!   [`proxy_protocol`], [`redis`], [`tls`] and [`websocket`].
//!
//! Nothing in here does IO, knows a clock or starts a thread.
#![forbid(unsafe_code)]

pub mod detect;
pub mod dns;
pub mod http1;
pub mod http2;
pub mod parser;
pub mod postgres;
pub mod proxy_protocol;
pub mod redis;
pub mod registry;
pub mod stream;
pub mod tls;
pub mod websocket;

mod arrivals;
mod body;
mod coding;
mod grpc;
mod oriented;
