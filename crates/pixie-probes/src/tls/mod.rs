//! TLS: plaintext from inside encrypted connections, by probes on the functions of TLS libraries.
//!
//! ```text
//!   discovery ─► a process has mapped a file ─► inspect ─► Target ─► attach
//!   └──────────────────── tracker: a thread of its own ────────────────────┘
//! ```
//!
//! A file is probed once, for all processes that have it mapped.

mod attach;
mod discovery;
mod inspect;
mod known;
mod libraries;
mod safety;
mod signatures;
mod target;
mod tracker;

pub(crate) use attach::{PROGRAMS, Programs};
pub use inspect::inspect;
pub(crate) use known::Known;
pub use libraries::{Libraries, UnknownLibrary};
pub use target::{Abi, AttachPoint, Call, Library, Refusal, Returns, Target};
pub(crate) use tracker::Tracker;

use std::path::PathBuf;

/// A file with a TLS library, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsFile {
    /// Its path, as the process that it was found in sees it.
    pub path: PathBuf,
    /// The library, where it is known.
    pub library: Option<Library>,
    /// Its version, where the file tells.
    pub version: Option<String>,
    /// The functions that are probed.
    pub attached: Vec<String>,
    /// Those that are not, and why.
    pub refused: Vec<(String, String)>,
    /// What else is worth knowing: why nothing of it is probed, say.
    pub notes: Vec<String>,
    /// How many processes have it mapped now.
    pub processes: usize,
}
