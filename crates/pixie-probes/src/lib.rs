//! The kernel side: eBPF programs that capture socket traffic, and what loads, attaches and drains
//! them.

pub mod event;
