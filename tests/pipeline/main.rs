//! The pipeline from events to records, with bytes as they are on real connections.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests assert by panicking"
)]

mod account;
mod answers;
mod bounds;
mod connections;
mod halves;
mod protocols;
mod sinks;
mod wire;
