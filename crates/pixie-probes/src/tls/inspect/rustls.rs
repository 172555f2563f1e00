//! rustls, in a program that names its functions.

use super::c_functions::returns;
use super::{refused, version};
use crate::tls::target::{Abi, AttachPoint, Call, Library, Refusal, Target};
use pixie_symbols::{ElfFile, FoundFunction, Machine, demangle};

/// Parts that all of [`NAMES`] have. Every name of every file is searched for them, so they are few.
pub(super) const PARTS: &[&[&str]] = &[&["crypter", "rustls"]];

/// Parts of the names of implementations of `MessageEncrypter::encrypt` and `MessageDecrypter::decrypt`,
/// as the compiler mangles them: in the old way, and in that of RFC 2603.
const NAMES: &[&[&str]] = &[
    &["_ZN", "rustls..crypto..cipher..MessageEncrypter$GT$7encrypt17h"],
    &["_ZN", "rustls..crypto..cipher..MessageDecrypter$GT$7decrypt17h"],
    &["_R", "6rustls", "16MessageEncrypter7encrypt"],
    &["_R", "6rustls", "16MessageDecrypter7decrypt"],
];

/// What a connection has until it has keys. It never succeeds.
const INVALID: &str = "InvalidMessage";

/// The version of which it is known what the arguments and results are.
const COVERED: &str = "0.23.";

/// The most implementations that are probed. A program has a dozen.
const MAX_FUNCTIONS: usize = 64;

/// The target that a file is if rustls is in it.
pub(super) fn inspect(
    file: &ElfFile,
    functions: &[FoundFunction],
) -> Result<Option<Target>, Refusal> {
    let version = version::rustls(file, COVERED);
    let functions = implementations(functions);
    if functions.is_empty() {
        let Some(version) = version else { return Ok(None) };
        return Err(refuse(&version, "its functions are not to be found without symbols"));
    }
    // Without one, the kernel's programs find out at each call whether they understand it.
    if let Some(version) = version.as_ref().filter(|version| !version.starts_with(COVERED)) {
        return Err(refuse(version, "only 0.23 is covered"));
    }
    let named = version.as_deref().unwrap_or("of unknown version");
    if file.machine() != Machine::X86_64 {
        return Err(refuse(named, "it is covered on x86-64 only"));
    }
    let (mut points, mut notes) = (Vec::new(), Vec::new());
    for (name, call, function) in functions {
        match file.attach_points(function.address, function.size) {
            Ok(places) => points.push(AttachPoint {
                call,
                entry: places.entry.offset,
                returns: returns(call, &places),
                deferred: None,
                symbol: name,
            }),
            Err(_) => notes.push(format!("{name} is not where the file says")),
        }
    }
    let has = |call| points.iter().any(|point| point.call == call);
    if !has(Call::Encrypt) || !has(Call::Decrypt) {
        return Err(refuse(named, "it is not all there to encrypt and to decrypt"));
    }
    Ok(Some(Target { library: Library::Rustls, abi: Abi::Rust, version, points, notes }))
}

fn refuse(version: &str, reason: &str) -> Refusal {
    let seen = "what is said through that is not seen";
    refused(Library::Rustls, format!("it has rustls {version} in it, and {seen}: {reason}"))
}

/// Whether a function has such a name.
fn is_named_so(function: &FoundFunction) -> bool {
    NAMES.iter().any(|parts| parts.iter().all(|part| function.name.contains(part)))
        && !function.name.contains(INVALID)
}

/// Whether there is something to probe among these functions.
pub(super) fn is_in(functions: &[FoundFunction]) -> bool {
    functions.iter().any(is_named_so)
}

/// The implementations, each once: its name for people, what it does, and where it is.
fn implementations(functions: &[FoundFunction]) -> Vec<(String, Call, &FoundFunction)> {
    let mut found: Vec<_> = functions.iter().filter(|function| is_named_so(function)).collect();
    found.sort_by_key(|function| function.address);
    // The linker may have found that two are the same.
    found.dedup_by_key(|function| function.address);
    found.truncate(MAX_FUNCTIONS);
    let named = found.into_iter().map(|function| {
        let call = match function.name.contains("MessageDecrypter") {
            true => Call::Decrypt,
            false => Call::Encrypt,
        };
        (readable(&function.name, call), call, function)
    });
    named.collect()
}

/// `ring::tls13::Tls13MessageDecrypter::decrypt`, of a mangled name; that itself if it is of another form.
fn readable(mangled: &str, call: Call) -> String {
    let method = if call == Call::Decrypt { "decrypt" } else { "encrypt" };
    let name = demangle(mangled.as_bytes());
    let implementor = name.strip_prefix('<').and_then(|name| {
        let name = name.split_once(" as ")?.0;
        Some(name.rsplit("crypto::").next().unwrap_or(name).to_owned())
    });
    implementor.map_or_else(|| mangled.to_owned(), |name| format!("{name}::{method}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `nm` shows them in programs of rustls 0.23.46 by Rust 1.95, in both ways of mangling.
    const ENCRYPT: [&str; 2] = [
        "_ZN111_$LT$rustls..crypto..ring..tls13..Tls13MessageEncrypter$u20$as$u20$rustls..crypto..cipher..\
         MessageEncrypter$GT$7encrypt17hbb572c3366ee870dE",
        "_RNvXs2_NtNtNtCs41zpWgplxg4_6rustls6crypto4ring5tls13NtB5_21Tls13MessageEncrypterNtNtB9_6cipher\
         16MessageEncrypter7encrypt",
    ];
    const OTHERS: [&str; 4] = [
        "_RNvXsc_NtNtCs41zpWgplxg4_6rustls6crypto6cipherNtB5_23InvalidMessageDecrypterNtB5_16MessageDecrypter\
         7decrypt.llvm.16678980157995869540",
        "_ZN111_$LT$rustls..crypto..ring..tls13..Tls13MessageEncrypter$u20$as$u20$rustls..crypto..cipher..\
         MessageEncrypter$GT$21encrypted_payload_len17h52ef9f08294bd953E",
        "_ZN108_$LT$rustls..crypto..cipher..InvalidMessageDecrypter$u20$as$u20$rustls..crypto..cipher..\
         MessageDecrypter$GT$7decrypt17h357de478dbbb155bE.llvm.10066491478089493006",
        "_ZN4core3ptr94drop_in_place$LT$alloc..boxed..Box$LT$dyn$u20$rustls..crypto..cipher..\
         MessageDecrypter$GT$$GT$17h23af8437a7818fa5E",
    ];

    fn function(name: &str) -> FoundFunction {
        FoundFunction::new(name.to_owned(), 0x1000, 1)
    }

    #[test]
    fn implementations_are_known_by_their_mangled_names() {
        for name in ENCRYPT {
            assert!(PARTS[0].iter().all(|part| name.contains(part)), "{name}");
            let functions = [function(name)];
            let found = implementations(&functions);
            let [(readable, call, _)] = found.as_slice() else { panic!("{name}: {found:?}") };
            assert_eq!(readable, "ring::tls13::Tls13MessageEncrypter::encrypt");
            assert_eq!(*call, Call::Encrypt);
        }
        assert!(!is_in(&OTHERS.map(function)));
    }

    #[test]
    fn one_that_a_linker_found_twice_is_probed_once() {
        let functions = [function(ENCRYPT[0]), function(ENCRYPT[1])];
        assert_eq!(implementations(&functions).len(), 1);
    }
}
