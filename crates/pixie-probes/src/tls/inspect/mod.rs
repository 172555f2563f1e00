//! Which TLS libraries a file holds, if any, and where to attach to them.
//!
//! What is read of the file has bounds, however it was made: a stranger may have made it.

mod c_functions;
mod go;
mod rustls;
mod version;

use super::target::{Library, Refusal, Target};
use pixie_symbols::{ElfFile, Wanted};
use std::path::Path;

/// Looks into `file`, which was found at `path`, for TLS libraries: mostly none, or one, but a program can
/// have several linked into it. A file that is of no use to a probe, because it is damaged, holds none.
///
/// What is read of the file has bounds, however it was made, and a program built by Go of 200 MB takes
/// no more memory than a small one.
///
/// Of each there is a [`Refusal`] when it seems to be there and cannot be attached to.
#[must_use]
pub fn inspect(file: &ElfFile, path: &Path) -> Vec<Result<Target, Refusal>> {
    let go = go::inspect(file).transpose();
    // In one go, because every file that is executed comes here.
    let names = c_functions::names();
    let parts = [c_functions::BORINGSSL_PARTS, rustls::PARTS].concat();
    let wanted = Wanted::names(&names).or_with_parts(&parts);
    let Ok(functions) = file.find_functions(wanted) else { return go.into_iter().collect() };
    let of_c = match c_functions::inspect(file, path, &functions) {
        // What no symbols tell of is looked for in all of the code, where nothing else is known of it.
        None if go.is_none() => c_functions::by_signature(file).transpose(),
        found => found.map(Ok),
    };
    // What looks like some of BoringSSL may be rustls's cryptography.
    let of_c = of_c.filter(|found| found.is_ok() || !rustls::is_in(&functions));
    let of_rust = match &go {
        None => rustls::inspect(file, &functions).transpose(),
        Some(_) => None,
    };
    [go, of_c, of_rust].into_iter().flatten().collect()
}

fn refused(library: Library, reason: impl Into<String>) -> Refusal {
    Refusal { library: Some(library), reason: reason.into() }
}
