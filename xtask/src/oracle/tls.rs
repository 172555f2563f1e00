//! TLS: what the client offers, by its fingerprint, and what the server chooses.

use super::records::{Record, list, show};
use super::tshark::Row;
use super::{Capture, Judge};

pub(super) const JUDGE: Judge = Judge {
    protocol: "tls",
    is_ours: |record| record.is("tls_handshake"),
    decode_as: &[("tcp", "tls")],
    filter: "tls.handshake.type == 1 or tls.handshake.type == 2",
    fields: &[
        "tls.handshake.type",
        "tls.handshake.extensions_server_name",
        "tls.handshake.extensions_alpn_str",
        "tls.handshake.ja3",
        "tls.handshake.version",
        "tls.handshake.extensions.supported_version",
        "tls.handshake.ciphersuite",
    ],
    theirs,
    ours,
    needs_all_bytes: true,
    excused: &[],
    not_judged: "JA4, which this tshark does not know; certificates, groups, resumption and alerts",
};

const VERSIONS: &[(&str, &str)] = &[
    ("0x0300", "SSLv3"),
    ("0x0301", "TLSv1.0"),
    ("0x0302", "TLSv1.1"),
    ("0x0303", "TLSv1.2"),
    ("0x0304", "TLSv1.3"),
];

/// Those that servers choose today (<https://www.iana.org/assignments/tls-parameters>).
const CIPHERS: &[(&str, &str)] = &[
    ("0x002f", "TLS_RSA_WITH_AES_128_CBC_SHA"),
    ("0x0035", "TLS_RSA_WITH_AES_256_CBC_SHA"),
    ("0x009c", "TLS_RSA_WITH_AES_128_GCM_SHA256"),
    ("0x009d", "TLS_RSA_WITH_AES_256_GCM_SHA384"),
    ("0x009e", "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256"),
    ("0x009f", "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384"),
    ("0x1301", "TLS_AES_128_GCM_SHA256"),
    ("0x1302", "TLS_AES_256_GCM_SHA384"),
    ("0x1303", "TLS_CHACHA20_POLY1305_SHA256"),
    ("0xc009", "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"),
    ("0xc00a", "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA"),
    ("0xc013", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"),
    ("0xc014", "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"),
    ("0xc02b", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ("0xc02c", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    ("0xc02f", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    ("0xc030", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    ("0xcca8", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("0xcca9", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
];

fn theirs(row: &Row<'_>) -> Vec<String> {
    let ends = row.ends();
    if row.all("tls.handshake.type").contains(&"1") {
        let protocols = row.all("tls.handshake.extensions_alpn_str").join(",");
        let name = row.one("tls.handshake.extensions_server_name");
        return vec![client(&ends, name, &protocols, row.one("tls.handshake.ja3"))];
    }
    // Where the extension is there, the version in the message itself is that of TLS 1.2.
    let version = match row.one("tls.handshake.extensions.supported_version") {
        "-" => row.one("tls.handshake.version"),
        version => version,
    };
    let cipher = named(CIPHERS, row.one("tls.handshake.ciphersuite"));
    vec![server(&ends, named(VERSIONS, version), cipher)]
}

fn ours(record: &Record, _: &Capture) -> Vec<String> {
    let ends = record.ends();
    let mut lines = Vec::new();
    if !record.at(&["request"]).is_null() {
        let at = |name| show(record.at(&["request", name]));
        let protocols: Vec<_> = list(record.at(&["request", "alpn"])).iter().map(show).collect();
        lines.push(client(&ends, &at("server_name"), &protocols.join(","), &at("ja3")));
    }
    let at = |name| show(record.at(&["response", name]));
    if at("cipher") != "-" {
        lines.push(server(&ends, &at("version"), &at("cipher")));
    }
    // Then both say it twice.
    if record.at(&["hello_retry"]) == true {
        lines.extend(lines.clone());
    }
    lines
}

fn client(ends: &str, name: &str, protocols: &str, ja3: &str) -> String {
    format!("{ends} asks for {name} with [{protocols}], {ja3}")
}

fn server(ends: &str, version: &str, cipher: &str) -> String {
    format!("{ends} is {version} with {cipher}")
}

fn named<'a>(names: &[(&str, &'a str)], number: &'a str) -> &'a str {
    names.iter().find(|(known, _)| *known == number).map_or(number, |(_, name)| name)
}
