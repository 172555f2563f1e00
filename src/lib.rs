//! Kernel-level observability as a library: the traffic of every process on the machine, parsed,
//! into your own [`Sink`].
//!
//! ```no_run
//! use pixie::Tracer;
//!
//! let session = Tracer::new()
//!     .kprobes() // the socket traffic of every process
//!     .sink(pixie::sinks::each(|record| drop(record.to_string())))
//!     .start()?; // every kernel action and every error is here
//! # let report =
//! session.report().to_string(); // what attached, what did not, and why
//! # let stats =
//! session.stop()?; // detach, drain, flush, account; dropping does the same
//! # Ok::<(), pixie::Error>(())
//! ```
//!
//! Needs Linux 5.8 or later with BTF, and the capabilities `CAP_BPF`, `CAP_PERFMON` and
//! `CAP_SYS_RESOURCE`, or root. Neither the traced programs nor the kernel need any change.
//!
//! # How it works
//!
//! ```text
//!   kernel                       │ one thread                         │ a thread a sink
//!                                │                                    │
//!   send, recv, close ─► ring ──►│─► connections ─► detection, ──────►│─► queue ─► your Sink
//!   of every process    buffers  │   bytes in       parsers           │─► queue ─► another
//!                                │   order          ▲                 │
//!                                │                  └ yours too: Protocol
//! ```
//!
//! - The kernel side copies the first bytes of each message, and counts. It does not parse.
//! - A [`Protocol`](protocols::parser::Protocol) is recognised by what is said, never by port
//!   alone, and parsed into typed [`Record`]s. Your own is added by [`Tracer::protocol`].
//! - A slow or failing sink harms nobody but itself.
//! - Whatever is lost on the way is counted, by place and cause, in [`Stats`], and told in-band
//!   as [`Record::Lost`]. A body that was captured in part says so itself
//!   ([`Body`](record::Body)).
//! - [`Replay`] runs the same pipeline over events that are there already, without privileges.
//!
//! The library starts threads in [`Tracer::start`] only, and ends them in [`Session::stop`]. It
//! has no global state, prints nothing, and handles no signals.
#![forbid(unsafe_code)]

mod builder;
mod error;
mod pipeline;
mod profiling;
mod replay;
mod report;
mod session;
pub mod tls;
mod tracer;

pub use builder::Builder;
pub use error::Error;
pub use pipeline::ConnectionLimits;
pub use profiling::Profiling;
pub use replay::{Player, Recorded, Replay};
pub use report::Report;
pub use session::Session;
pub use tracer::{Live, Tracer};

pub use pixie_core::{
    CaptureStats, CauseStats, ConnectionStats, Interest, LostStats, ParserStats, ProfileStats,
    Record, RecordKind, Sink, SinkError, SinkStats, Stats, StreamStats, Text, TlsStats, id, record,
    sinks, time,
};
pub use pixie_probes::{Attachment, Backend, CaptureOptions, Filter, ProbeError, Uprobes, event};
pub use pixie_profiler::{self as profiler, ProfileError};
pub use pixie_protocols as protocols;
