//! The kernel side of pixie: eBPF programs that capture socket traffic, and what loads, attaches
//! and drains them.
//!
//! The programs capture and count; they do not parse. They are built beforehand (`bpf/` holds the
//! source, `prebuilt/` the objects), and fitted to the running kernel when they are loaded, so that
//! users need neither a compiler nor kernel headers.
//!
//! ```text
//!   system calls ─► [program] ─► ring ─┐
//!                   [program] ─► ring ─┼─► Capture::poll ─► Event ─► whoever parses
//!                   [program] ─► ring ─┘   (merged by time)
//! ```
//!
//! [`Capture`] is the live source of [events](event); packet captures and recordings are others.

pub mod event;
pub mod sampler;
pub mod tls;

mod abi;
mod capture;
mod error;
mod kernel;
mod load;
mod mappings;
mod multi;
mod options;
mod per_cpu;
mod programs;
mod ring;
mod sys;

pub use capture::{Capture, Reporter, monotonic_now};
pub use error::ProbeError;
pub use options::{Attachment, Backend, CaptureOptions, Filter, Report, UnknownBackend, Uprobes};
