//! Fingerprints of clients: JA3 (<https://github.com/salesforce/ja3>) and JA4
//! (<https://github.com/FoxIO-LLC/ja4>, technical details of JA4).

use super::wire::is_grease;
use md5::{Digest, Md5};
use pixie_core::record::TlsVersion;
use sha2::Sha256;
use std::fmt::Write;

/// What of a client's hello makes its fingerprints, with GREASE values.
#[derive(Debug, Default)]
pub(super) struct Traits<'a> {
    /// The version that the hello itself says.
    pub(super) legacy_version: u16,
    /// Those of the extension.
    pub(super) versions: &'a [u16],
    pub(super) ciphers: &'a [u16],
    pub(super) extensions: &'a [u16],
    pub(super) groups: &'a [u16],
    pub(super) point_formats: &'a [u8],
    pub(super) signature_schemes: &'a [u16],
    /// The first protocol of ALPN.
    pub(super) protocol: Option<&'a [u8]>,
}

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;

pub(super) fn ja3(traits: &Traits<'_>) -> String {
    let listed = |numbers: &[u16]| {
        let numbers = numbers.iter().filter(|number| !is_grease(**number));
        numbers.map(ToString::to_string).collect::<Vec<_>>().join("-")
    };
    let formats: Vec<String> = traits.point_formats.iter().map(ToString::to_string).collect();
    let text = format!(
        "{},{},{},{},{}",
        traits.legacy_version,
        listed(traits.ciphers),
        listed(traits.extensions),
        listed(traits.groups),
        formats.join("-")
    );
    hex(&Md5::digest(text))
}

pub(super) fn ja4(traits: &Traits<'_>) -> String {
    let sound = |numbers: &[u16]| {
        numbers.iter().copied().filter(|number| !is_grease(*number)).collect::<Vec<u16>>()
    };
    let (mut ciphers, mut extensions) = (sound(traits.ciphers), sound(traits.extensions));
    let version = sound(traits.versions).into_iter().max().unwrap_or(traits.legacy_version);
    let version = match TlsVersion(version) {
        TlsVersion::TLS_1_3 => "13",
        TlsVersion::TLS_1_2 => "12",
        TlsVersion::TLS_1_1 => "11",
        TlsVersion::TLS_1_0 => "10",
        TlsVersion::SSL_3 => "s3",
        _ => "00",
    };
    let name = if extensions.contains(&SERVER_NAME) { 'd' } else { 'i' };
    let (cipher_count, extension_count) = (ciphers.len().min(99), extensions.len().min(99));
    let protocol = ends(traits.protocol.unwrap_or_default());

    ciphers.sort_unstable();
    extensions.retain(|extension| !matches!(*extension, SERVER_NAME | ALPN));
    extensions.sort_unstable();
    let schemes = sound(traits.signature_schemes);
    let mut text = listed(&extensions);
    if !schemes.is_empty() && !text.is_empty() {
        text.push('_');
        text.push_str(&listed(&schemes));
    }
    let (ciphers, rest) = (short_hash(&listed(&ciphers)), short_hash(&text));
    format!("t{version}{name}{cipher_count:02}{extension_count:02}{protocol}_{ciphers}_{rest}")
}

/// The first and the last character of a protocol's name, or, where one is not alphanumeric, the
/// first and the last digit of it in hexadecimal.
fn ends(protocol: &[u8]) -> String {
    match (protocol.first(), protocol.last()) {
        (Some(first), Some(last)) => {
            if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
                [char::from(*first), char::from(*last)].into_iter().collect()
            } else {
                format!("{:x}{:x}", first >> 4, last & 15)
            }
        }
        _ => "00".to_owned(),
    }
}

/// Four hexadecimal digits each.
fn listed(numbers: &[u16]) -> String {
    let numbers: Vec<String> = numbers.iter().map(|number| format!("{number:04x}")).collect();
    numbers.join(",")
}

/// The first twelve hexadecimal digits of the SHA-256, and zeros for that of nothing.
fn short_hash(text: &str) -> String {
    if text.is_empty() {
        return "0".repeat(12);
    }
    let mut digits = hex(&Sha256::digest(text));
    digits.truncate(12);
    digits
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ja3_matches_its_published_vectors() {
        // README of salesforce/ja3.
        let traits = Traits {
            legacy_version: 769,
            ciphers: &[47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4],
            extensions: &[0, 10, 11],
            groups: &[23, 24, 25],
            point_formats: &[0],
            ..Traits::default()
        };
        assert_eq!(ja3(&traits), "ada70206e40642a3e4461f35503241d5");
        let traits = Traits {
            legacy_version: 769,
            ciphers: &[4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99],
            ..Traits::default()
        };
        assert_eq!(ja3(&traits), "de350869b8c85de67a350c8d186f11e6");
    }

    #[test]
    fn ja4_matches_its_published_vector() {
        // Technical details of JA4: its parts are out of order, and have GREASE values in between.
        let traits = Traits {
            legacy_version: 0x0303,
            versions: &[0x7a7a, 0x0304, 0x0303],
            ciphers: &[
                0x1a1a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8,
                0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
            ],
            extensions: &[
                0x4a4a, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005,
                0x0023, 0x0012, 0x002b, 0xff01, 0x000b, 0x000a, 0x0015, 0x3a3a,
            ],
            signature_schemes: &[0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601],
            protocol: Some(b"h2"),
            ..Traits::default()
        };
        assert_eq!(ja4(&traits), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn ja4_of_little() {
        assert_eq!(ja4(&Traits::default()), "t00i000000_000000000000_000000000000");
        assert_eq!(ends(b"\xab"), "ab");
        assert_eq!(ends(b"\x20\x61\x2d"), "2d");
        assert_eq!(ends(b"http/1.1"), "h1");
    }
}
