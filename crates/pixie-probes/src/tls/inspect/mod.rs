//! Which TLS library a file holds, if any, and where to attach to it.
//!
//! What is read of the file has bounds, however it was made: a stranger may have made it.

mod c_functions;
mod go;
mod rustls;
mod version;

use super::target::{Library, Refusal, Target};
use pixie_symbols::{ElfFile, Wanted};
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
    // In one go, because every file that is executed comes here.
    let names = c_functions::names();
    let parts = [c_functions::BORINGSSL_PARTS, rustls::PARTS].concat();
    let wanted = Wanted::names(&names).or_with_parts(&parts);
    let Ok(functions) = file.find_functions(wanted) else { return Ok(None) };
    match c_functions::inspect(file, path, &functions) {
        Ok(None) => rustls::inspect(file, &functions),
        // Its cryptography may come from BoringSSL.
        Err(_) if rustls::is_in(&functions) => rustls::inspect(file, &functions),
        found => found,
    }
}

fn refused(library: Library, reason: impl Into<String>) -> Refusal {
    Refusal { library: Some(library), reason: reason.into() }
}
