//! Which version of a library a file holds.

use pixie_symbols::ElfFile;
use std::path::Path;

/// The longest version that is believed, in bytes.
const MAX_VERSION: usize = 24;

/// The version of OpenSSL, or LibreSSL with its name. The library that programs link to may not have
/// it, but the one with the algorithms that belongs to it does; without either, the library's own
/// name tells the major version.
pub(super) fn openssl(file: &ElfFile, path: &Path) -> Option<String> {
    by_text(file).or_else(|| by_companion(file, path)).or_else(|| by_name(file))
}

fn by_text(file: &ElfFile) -> Option<String> {
    let after = |name: &str| {
        file.find_in_data(name.as_bytes(), &mut |text| version(text.get(name.len()..)?))
    };
    after("OpenSSL ").or_else(|| after("LibreSSL ").map(|version| format!("LibreSSL {version}")))
}

fn by_companion(file: &ElfFile, path: &Path) -> Option<String> {
    let needed = file.needed();
    let name = needed.iter().find(|name| name.contains("libcrypto") && !name.contains('/'))?;
    by_text(&ElfFile::open(path.parent()?.join(name)).ok()?)
}

/// `3` of `libssl.so.3`.
fn by_name(file: &ElfFile) -> Option<String> {
    version(file.soname()?.split_once(".so.")?.1.as_bytes())
}

/// The version of GnuTLS, which it logs.
pub(super) fn gnutls(file: &ElfFile) -> Option<String> {
    const LOGGED: &str = "Enabled GnuTLS ";
    file.find_in_data(LOGGED.as_bytes(), &mut |text| version(text.get(LOGGED.len()..)?))
}

/// The version of rustls. Its panics tell where they happen: `…/rustls-0.23.46/src/conn.rs`. Stripping
/// does not remove that.
///
/// A program can have several. One that begins like `preferred` comes first.
pub(super) fn rustls(file: &ElfFile, preferred: &str) -> Option<String> {
    const FOLDER: &str = "/rustls-";
    let mut other = None;
    let found = file.find_in_data(FOLDER.as_bytes(), &mut |text| {
        let found = in_folder(text.get(FOLDER.len()..)?)?;
        if found.starts_with(preferred) {
            return Some(found);
        }
        other = Some(found);
        None
    });
    found.or(other)
}

/// The version in `0.23.46/src/conn.rs`.
fn in_folder(path: &[u8]) -> Option<String> {
    let end = path.windows(5).position(|part| part == b"/src/")?;
    let found = version(path.get(..end)?)?;
    (found.len() == end).then_some(found)
}

/// A version that a text begins with: `3.0.15`, `1.1.1w`.
fn version(text: &[u8]) -> Option<String> {
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+');
    let end = text.iter().position(|byte| !part(byte)).unwrap_or(text.len());
    let text = str::from_utf8(text.get(..end)?).ok()?;
    let begins = text.starts_with(|character: char| character.is_ascii_digit());
    // Sentences about versions are no versions.
    let ends = !text.ends_with(['.', '-', '+']);
    (begins && ends && text.len() <= MAX_VERSION).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{in_folder, version};

    #[test]
    fn versions_are_told_from_other_texts() {
        let read = |text: &str| version(text.as_bytes());
        assert_eq!(read("3.0.22 25 Aug 2026"), Some("3.0.22".to_owned()));
        assert_eq!(read("1.1.1w  11 Sep 2023\0"), Some("1.1.1w".to_owned()));
        assert_eq!(read("3"), Some("3".to_owned()));
        assert_eq!(read("is not 3.0"), None);
        assert_eq!(read("3.0."), None);
        assert_eq!(read("11111111111111111111111111111111"), None);
    }

    #[test]
    fn only_a_folder_of_sources_tells_a_version() {
        assert_eq!(in_folder(b"0.23.46/src/conn.rs\0"), Some("0.23.46".to_owned()));
        assert_eq!(in_folder(b"0.24.0-dev.1/src/conn.rs"), Some("0.24.0-dev.1".to_owned()));
        assert_eq!(in_folder(b"0.23.46/README.md"), None);
        assert_eq!(in_folder(b"native-certs-0.8.5/src/lib.rs"), None);
        assert_eq!(in_folder(b"0.23/x/src/lib.rs"), None);
    }
}
