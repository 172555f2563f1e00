//! Functions of TLS libraries in files without symbols, by what their builds look like.

use super::target::{Library, Refusal};
use pixie_symbols::{ElfFile, Machine, SignatureMatch, Signatures};

/// Those of BoringSSL.
const BORINGSSL: &str = include_str!("signatures/x86_64/boringssl.txt");

/// What there must be in order to see anything.
const NEEDED: [&str; 2] = ["SSL_read", "SSL_write"];

/// Looks for BoringSSL's functions in a file that does not name them. `None` when there is no sign
/// of BoringSSL in it.
///
/// # Errors
/// When BoringSSL is in it, as far as its texts tell, and cannot be attached to.
pub(crate) fn find(file: &ElfFile) -> Result<Option<Vec<SignatureMatch>>, Refusal> {
    let refusal = |reason: String| Refusal { library: Some(Library::BoringSsl), reason };
    if file.machine() != Machine::X86_64 {
        // Whether it is BoringSSL is not known, so there is nothing to say of it.
        return Ok(None);
    }
    let signatures = Signatures::parse(BORINGSSL)
        .map_err(|error| refusal(format!("the signatures are damaged: {error}")))?;
    let matches = signatures
        .find(file)
        .map_err(|error| refusal(format!("functions were not looked for: {error}")))?;
    let Some(matches) = matches else { return Ok(None) };
    for name in NEEDED {
        if let Some((_, count)) = matches.ambiguous.iter().find(|(function, _)| function == name) {
            return Err(refusal(format!(
                "it has no symbols, and {count} places look like {name}, of which none is trusted"
            )));
        }
        if matches.address(name).is_none() {
            let build_id = file.build_id().map_or("none".to_owned(), ToString::to_string);
            return Err(refusal(format!(
                "it has no symbols, and no known build of BoringSSL has its {name} (build id \
                 {build_id}); docs/tls-signatures.md tells how a build is made known"
            )));
        }
    }
    Ok(Some(matches.found))
}

#[cfg(test)]
mod tests {
    use super::{BORINGSSL, NEEDED, find};
    use pixie_symbols::{ElfFile, Signatures};

    #[test]
    fn the_signatures_can_be_read() {
        let signatures = Signatures::parse(BORINGSSL).unwrap();
        let functions: Vec<&str> = signatures.functions().collect();
        assert!(NEEDED.iter().all(|needed| functions.contains(needed)), "{functions:?}");
    }

    #[test]
    fn a_program_without_boringssl_has_no_sign_of_it() {
        // This one has the signatures in it, and with them the texts, but not as they are elsewhere.
        let file = ElfFile::open("/proc/self/exe").unwrap();
        assert!(matches!(find(&file), Ok(None)));
    }
}
