//! The kernel side: eBPF programs that capture socket traffic, and what loads, attaches and drains
//! them.

pub mod event;

mod options;

pub use options::{Attachment, Backend, CaptureOptions, Filter, Report, UnknownBackend};
