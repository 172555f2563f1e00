//! Which TLS library a file holds, if any, and where to attach to it.

use super::target::{Abi, AttachPoint, Call, Library, Refusal, Returns, Target};
use pixie_symbols::ElfFile;
use std::path::Path;

/// OpenSSL's functions, by the names that programs call them by.
const OPENSSL: &[(&str, Call)] = &[
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
];

/// Looks into `file`, which was found at `path`. `None` when it holds no TLS library.
pub(crate) fn inspect(file: &ElfFile, path: &Path) -> Result<Option<Target>, Refusal> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if !["libssl", "libcrypto"].iter().any(|start| name.starts_with(start)) {
        return Ok(None);
    }
    let Ok(symbols) = file.symbols() else { return Ok(None) };
    let points: Vec<_> = OPENSSL
        .iter()
        .filter_map(|(name, call)| {
            let symbol = symbols.named(name).next()?;
            let entry = file.file_offset(symbol.address)?;
            let returns = match call {
                Call::Free | Call::BioWrite => Returns::None,
                _ => Returns::Uretprobe(entry),
            };
            Some(AttachPoint { call: *call, entry, returns, symbol: (*name).to_owned() })
        })
        .collect();
    let has = |wanted| points.iter().any(|point| point.call == wanted);
    if !(has(Call::BioWrite) || has(Call::Read) && has(Call::Write)) {
        return Ok(None);
    }
    Ok(Some(Target {
        library: Library::OpenSsl,
        abi: Abi::C,
        version: None,
        points,
        notes: Vec::new(),
    }))
}
