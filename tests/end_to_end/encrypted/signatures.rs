//! Functions of stripped programs, found by the signatures that are kept: in real builds, by what is
//! known of them from elsewhere, and not where they are not.

use crate::fetch::{go, npm_package, python_packages};
use crate::programs::find;
use crate::runner::{Outcome, Setup, Skip, skip, tests};
use pixie_symbols::{ElfFile, SignatureMatches, Signatures};
use std::fs;
use std::path::{Path, PathBuf};

tests! {
    once: of_grpc_for_python, of_bun, of_a_library_with_symbols, in_what_has_none_of_it;
}

const BORINGSSL: &str =
    include_str!("../../../crates/pixie-probes/src/tls/signatures/x86_64/boringssl.txt");

fn search(file: &Path) -> Option<SignatureMatches> {
    let signatures = Signatures::parse(BORINGSSL).unwrap();
    let file = ElfFile::open(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    signatures.find(&file).unwrap()
}

/// The library in the wheel of this version.
fn wheel(package: &str, part: &str) -> Result<PathBuf, Skip> {
    let folder = python_packages(&[package])?;
    let mut folders = vec![folder.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if name.contains(part) && name.contains(".so") {
                return Ok(entry.path());
            }
        }
    }
    skip!("{package} has no {part} for this machine");
}

/// Where each function is in wheels of PyPI, as its code was read by people.
fn of_grpc_for_python(_: &Setup) -> Outcome {
    if !cfg!(target_arch = "x86_64") {
        skip!("signatures are of builds for x86-64");
    }
    let known = [
        ("1.54.0", [0x79_c4a0, 0x79_a870, 0x79_a270, 0x79_9f00, 0x67_c3c0]),
        ("1.74.0", [0x9c_f2e0, 0x9c_d5e0, 0x9c_cfe0, 0x9c_cc70, 0x85_b6a0]),
        ("1.85.3", [0xbb_5380, 0xbb_35a0, 0xbb_2fa0, 0xbb_2c30, 0xa0_ec30]),
    ];
    for (version, addresses) in known {
        let file = wheel(&format!("grpcio=={version}"), "cygrpc.cpython-311-x86_64")?;
        let matches = search(&file).expect("BoringSSL's texts");
        let functions = ["SSL_read", "SSL_write", "SSL_do_handshake", "SSL_free", "BIO_write"];
        assert_eq!(
            functions.map(|function| matches.address(function)),
            addresses.map(Some),
            "{version}: {matches:x?}"
        );
        // Only newer ones have it.
        let added = (version == "1.85.3").then_some(0xa0_eb10);
        assert_eq!(matches.address("BIO_write_ex"), added, "{version}");
        let absent: Vec<&str> = matches.absent.iter().map(|name| &**name).collect();
        let expected = if added.is_some() { &[][..] } else { &["BIO_write_ex"] };
        assert_eq!(absent, expected, "{version}");
        assert!(matches.ambiguous.is_empty(), "{matches:?}");
    }
    Ok(())
}

fn of_bun(_: &Setup) -> Outcome {
    let bun = npm_package("@oven/bun-linux-x64@1.4.5")?.join("bin/bun");
    let matches = search(&bun).expect("BoringSSL's texts");
    let functions = ["SSL_read", "SSL_write", "SSL_do_handshake", "SSL_free", "BIO_write_ex"];
    assert_eq!(
        functions.map(|function| matches.address(function)),
        [0x258_6500, 0x260_7c30, 0x256_c0c0, 0x25b_5910, 0x258_4870].map(Some),
        "{matches:x?}"
    );
    Ok(())
}

/// Whatever is found in a library that has its symbols is where they say.
fn of_a_library_with_symbols(_: &Setup) -> Outcome {
    let file = wheel("curl_cffi==0.17.0", "_wrapper.abi3")?;
    let symbols = ElfFile::open(&file).unwrap().symbols().unwrap();
    assert!(symbols.named("SSL_read").next().is_some(), "it has symbols");
    let matches = search(&file).expect("BoringSSL's texts");
    for found in &matches.found {
        let symbol = symbols.named(&found.function).next().expect("it has symbols");
        assert_eq!(found.address, symbol.address, "{}", found.function);
    }
    assert!(matches.ambiguous.is_empty(), "{matches:?}");
    Ok(())
}

/// Large programs with OpenSSL, with Go's TLS, and with none.
fn in_what_has_none_of_it(_: &Setup) -> Outcome {
    let mut files = vec![std::env::current_exe().unwrap()];
    for name in ["node", "openssl", "etcd", "clang"] {
        files.extend(find(name).ok().and_then(|file| fs::canonicalize(file).ok()));
    }
    files.extend(go("1.27").ok());
    for file in files {
        assert_eq!(search(&file), None, "{}", file.display());
    }
    Ok(())
}
