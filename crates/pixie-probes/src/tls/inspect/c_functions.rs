//! Libraries whose functions follow the platform's ABI, and are known by name: by those that a
//! library offers to programs, or those that a linker left in a program that has the library in it.

use super::version;
use crate::tls::signatures;
use crate::tls::target::{Abi, AttachPoint, Call, Library, Refusal, Returns, Target};
use pixie_symbols::{AttachPoints, ElfFile, FoundFunction};
use std::path::Path;

/// The functions of OpenSSL and BoringSSL, by the names that programs call them by.
const SSL: &[(&str, Call)] = &[
    ("SSL_read", Call::Read),
    ("SSL_write", Call::Write),
    ("SSL_read_ex", Call::ReadEx),
    ("SSL_write_ex", Call::WriteEx),
    ("SSL_write_ex2", Call::WriteEx2),
    ("SSL_read_early_data", Call::EarlyRead),
    ("SSL_write_early_data", Call::EarlyWrite),
    ("SSL_sendfile", Call::SendFile),
    ("SSL_do_handshake", Call::Handshake),
    ("SSL_free", Call::Free),
    ("SSL_clear", Call::Free),
    ("BIO_write", Call::BioWrite),
    ("BIO_write_ex", Call::BioWrite),
];

const GNUTLS: &[(&str, Call)] = &[
    ("gnutls_record_recv", Call::Read),
    ("gnutls_record_recv_seq", Call::Read),
    ("gnutls_record_recv_early_data", Call::Read),
    ("gnutls_record_send", Call::Write),
    ("gnutls_record_send2", Call::Write),
    ("gnutls_record_send_early_data", Call::Write),
    ("gnutls_handshake", Call::Handshake),
    ("gnutls_deinit", Call::Free),
];

/// Functions that do their work by calling another one that is attached to as well: calls of them
/// are seen there.
const WRAPPERS: &[(&str, &str)] =
    &[("SSL_write_ex", "SSL_write_ex2"), ("gnutls_record_send", "gnutls_record_send2")];

/// Functions that only BoringSSL has. None is in every program that has it; together they are: the
/// C++ ones are local, and the others are what programs use it for.
const BORINGSSL: &[&str] = &[
    "BORINGSSL_self_test",
    "SSL_CTX_set_grease_enabled",
    "SSL_CTX_set_reverify_on_resume",
    "SSL_early_data_accepted",
    "SSL_in_false_start",
    "SSL_get_curve_name",
    "SSL_error_description",
    "CRYPTO_BUFFER_new",
];
pub(super) const BORINGSSL_PARTS: &[&[&str]] =
    &[&["_ZN4bssl", "ssl_open_app_data"], &["_ZN4bssl", "ssl_write_buffer_flush"]];

/// The names that are looked for.
pub(super) fn names() -> Vec<&'static str> {
    let names = SSL.iter().chain(GNUTLS).map(|(name, _)| *name);
    names.chain(BORINGSSL.iter().copied()).collect()
}

/// The target that a file is by the functions that it names. Of several functions of one name the exported
/// one comes first, and is the one.
pub(super) fn inspect(file: &ElfFile, path: &Path, functions: &[FoundFunction]) -> Option<Target> {
    let has = |name: &str| functions.iter().any(|function| function.name == name);
    if has("gnutls_record_recv") {
        let (points, notes) = points(file, functions, GNUTLS);
        return target(Library::GnuTls, version::gnutls(file), points, notes);
    }
    // Cryptography alone is of use where a library in another file calls it. Go's boringcrypto has it inside.
    let offers_cryptography =
        || functions.iter().any(|function| function.exported && function.name == "BIO_write");
    if !has("SSL_read") && !offers_cryptography() {
        return None;
    }
    let boring = functions.iter().any(|function| {
        BORINGSSL.contains(&function.name.as_str()) || function.name.starts_with("_ZN4bssl")
    });
    let (points, notes) = points(file, functions, SSL);
    match boring {
        true => target(Library::BoringSsl, None, points, notes),
        false => target(Library::OpenSsl, version::openssl(file, path), points, notes),
    }
}

/// The target that a file without names is by what its code looks like.
pub(super) fn by_signature(file: &ElfFile) -> Result<Option<Target>, Refusal> {
    let Some(found) = signatures::find(file)? else { return Ok(None) };
    let mut functions = Vec::new();
    let mut notes = vec!["it has no symbols; its functions were found by signatures".to_owned()];
    for function in found {
        // Signatures do not say where a function ends.
        functions.push(FoundFunction::new(function.function, function.address, 0));
        notes.push(function.origin);
    }
    notes.dedup();
    let (points, more) = points(file, &functions, SSL);
    notes.extend(more);
    Ok(target(Library::BoringSsl, None, points, notes))
}

fn target(
    library: Library,
    version: Option<String>,
    points: Vec<AttachPoint>,
    notes: Vec<String>,
) -> Option<Target> {
    if points.is_empty() {
        return None;
    }
    Some(Target { library, abi: Abi::C, version, points, notes })
}

/// Where to attach to those of `functions` that are wanted, and what is worth knowing of them.
fn points(
    file: &ElfFile,
    functions: &[FoundFunction],
    wanted: &[(&str, Call)],
) -> (Vec<AttachPoint>, Vec<String>) {
    let find = |name: &str| functions.iter().find(|function| function.name == name);
    let (mut points, mut notes) = (Vec::new(), Vec::new());
    for (name, call) in wanted {
        let Some(function) = find(name) else { continue };
        let Ok(places) = file.attach_points(function.address, function.size) else {
            notes.push(format!("{name} is not where the file says"));
            continue;
        };
        let inner = WRAPPERS.iter().find(|(outer, _)| outer == name);
        if let Some(inner) = inner.and_then(|(_, inner)| find(inner))
            && (places.forwards || places.calls.contains(&inner.address))
        {
            continue;
        }
        points.push(AttachPoint {
            call: *call,
            entry: places.entry.offset,
            returns: returns(*call, &places),
            deferred: None,
            symbol: (*name).to_owned(),
        });
    }
    (points, notes)
}

/// Where to see a function return, for the least cost.
///
/// A return probe costs two breakpoints, and replaces the return address, which a program that
/// guards it (shadow stacks) or that is confined (seccomp) may not survive. Probes on the ways out
/// are better as long as they are no dearer.
pub(super) fn returns(call: Call, places: &AttachPoints) -> Returns {
    if matches!(call, Call::Free | Call::BioWrite) {
        return Returns::None;
    }
    let by_probe = Returns::Uretprobe(places.return_probe.offset);
    let Some(returns) = &places.returns else { return by_probe };
    let cheap = returns.iter().all(|place| place.emulated);
    if returns.len() > MAX_RETURNS || (!cheap && places.return_probe.emulated) {
        return by_probe;
    }
    Returns::At(returns.iter().map(|place| place.offset).collect())
}

/// The most probes on the ways out of one function. Each takes time to attach and to detach.
const MAX_RETURNS: usize = 8;
