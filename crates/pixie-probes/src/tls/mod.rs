//! TLS: plaintext from inside encrypted connections, by probes on the functions of TLS libraries.
//!
//! ```text
//!   discovery ─► a file is mapped ─► inspect ─► Target ─► attach
//! ```

#![allow(dead_code, reason = "what uses this comes next")]

mod inspect;
mod signatures;
mod target;

pub use target::Library;
