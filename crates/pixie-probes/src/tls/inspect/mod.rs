//! Which TLS library a file holds, if any, and where to attach to it.
//!
//! What is read of the file has bounds, however it was made: a stranger may have made it.

mod c_functions;
mod go;
mod version;

use super::target::{Library, Refusal, Target};
use pixie_symbols::ElfFile;
use std::path::Path;

/// Looks into `file`, which was found at `path`, for a TLS library. `None` when it holds none; a file
/// that is of no use to a probe, because it is damaged, holds none either.
///
/// What is read of the file has bounds, however it was made, and a program built by Go of 200 MB takes
/// no more memory than a small one.
///
/// # Errors
/// When it seems to hold one that cannot be attached to.
pub fn inspect(file: &ElfFile, path: &Path) -> Result<Option<Target>, Refusal> {
    if let Some(target) = go::inspect(file)? {
        return Ok(Some(target));
    }
    if let Some(target) = c_functions::inspect(file, path)? {
        return Ok(Some(target));
    }
    match version::rustls(file) {
        Some(version) => Err(not_covered(&version)),
        None => Ok(None),
    }
}

/// Why there are no probes on rustls, with symbols or without.
fn not_covered(version: &str) -> Refusal {
    Refusal {
        library: None,
        reason: format!(
            "it has rustls {version} in it, which is not covered: what is said through that is not seen. \
             Programs move its connections about in memory, so that which one a call is about cannot \
             be told for certain"
        ),
    }
}

fn refused(library: Library, reason: impl Into<String>) -> Refusal {
    Refusal { library: Some(library), reason: reason.into() }
}
