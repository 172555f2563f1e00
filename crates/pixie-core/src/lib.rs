//! The vocabulary of pixie: what a sensor emits, and what receives it.
//!
//! A third-party sink depends on this crate alone; it has no kernel code in it and compiles in
//! seconds.
//!
//! - [`Record`]: everything that can be emitted, from an HTTP exchange to a count of lost bytes;
//! - [`Sink`]: where records go, with ready-made [`sinks`] and combinators;
//! - [`Stats`]: the account of what was seen, kept and lost;
//! - [`id`] and [`time`]: the identities and clocks that records are made of.
//!
//! ```
//! use pixie_core::{sinks, Record, Sink};
//!
//! let mut sink = sinks::each(|record: &Record| drop(record.to_string()));
//! sink.emit(&[])?;
//! # Ok::<(), pixie_core::SinkError>(())
//! ```
#![forbid(unsafe_code)]

pub mod id;
pub mod record;
pub mod sinks;
pub mod time;

mod sink;
mod stats;
mod text;

pub use record::{Record, RecordKind};
pub use sink::{Interest, Sink, SinkError};
pub use stats::{
    CaptureStats, CauseStats, ConnectionStats, LostStats, ParserStats, ProfileStats, SinkStats,
    Stats, StreamStats, TlsStats,
};
pub use text::Text;
