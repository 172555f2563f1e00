//! What is found in real TLS libraries and programs, held against what other tools read of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test asserts by panicking, in its helpers too"
)]

mod go;

use libtest_mimic::{Arguments, Failed, Trial};
use pixie_probes::tls::{Abi, Call, Library, Refusal, Returns, Target, inspect};
use pixie_symbols::ElfFile;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

/// A file, and what is to be found in it.
struct Case {
    name: &'static str,
    path: Option<PathBuf>,
    /// What to do when there is no such file.
    advice: &'static str,
    library: Library,
    /// What the version begins with.
    version: Option<&'static str>,
    functions: &'static [&'static str],
    /// Functions of which neither the start nor the end may cost a single step.
    cheap: &'static [&'static str],
}

const DEBIAN: &str = "needs Debian 12 on amd64";
const WHEEL: &str = "pip install --no-deps --target ~/.cache/pixie/wheels/NAME NAME";
const CHROOT: &str = "debootstrap SUITE ~/.cache/pixie/chroot/SUITE, with curl in it";

const OPENSSL: &[&str] = &[
    "SSL_read",
    "SSL_write",
    "SSL_read_ex",
    "SSL_read_early_data",
    "SSL_write_early_data",
    "SSL_do_handshake",
    "SSL_free",
    "SSL_clear",
];
const BOTH: &[&str] = &["SSL_read", "SSL_write"];
const STATIC: &[&str] = &["SSL_read", "SSL_write", "SSL_do_handshake", "SSL_free", "BIO_write"];

fn cases() -> Vec<Case> {
    let case = |name, path, advice, version: &'static str, functions, cheap| Case {
        name,
        path,
        advice,
        library: Library::OpenSsl,
        version: Some(version),
        functions,
        cheap,
    };
    let on_host = |name: &str| Some(PathBuf::from(format!("/usr/lib/x86_64-linux-gnu/{name}")));
    let cached = |path: String| Some(cache()?.join(path));
    let chroot =
        |suite: &str, name: &str| cached(format!("chroot/{suite}/usr/lib/x86_64-linux-gnu/{name}"));
    let wheel = |name: &str, part: &str| find(&cached(format!("wheels/{name}"))?, part);
    let mut cases = vec![
        case("OpenSSL 3.0", on_host("libssl.so.3"), DEBIAN, "3.0.", OPENSSL, BOTH),
        case("OpenSSL 1.1.1", chroot("bullseye", "libssl.so.1.1"), CHROOT, "1.1.1", OPENSSL, BOTH),
        case("OpenSSL 3.5", chroot("trixie", "libssl.so.3"), CHROOT, "3.5.", OPENSSL, BOTH),
        case(
            "libcrypto",
            on_host("libcrypto.so.3"),
            DEBIAN,
            "3.0.",
            &["BIO_write"],
            &["BIO_write"],
        ),
        case(
            "psycopg2-binary, which has a libssl under another name",
            wheel("psycopg2-binary", "libssl-"),
            WHEEL,
            "",
            OPENSSL,
            &[],
        ),
        case(
            "cryptography, which has OpenSSL in it",
            wheel("cryptography", "_rust.abi3.so"),
            WHEEL,
            "",
            STATIC,
            &[],
        ),
        case(
            "confluent-kafka, which has OpenSSL in it",
            wheel("confluent-kafka", "librdkafka-"),
            WHEEL,
            "",
            STATIC,
            &[],
        ),
    ];
    cases.push(Case {
        library: Library::GnuTls,
        ..case("GnuTLS", on_host("libgnutls.so.30"), DEBIAN, "3.7.", GNUTLS, &[])
    });
    cases.push(Case {
        library: Library::BoringSsl,
        version: None,
        ..case(
            "curl_cffi, which has BoringSSL in it",
            wheel("curl_cffi", "_wrapper"),
            WHEEL,
            "",
            STATIC,
            &[],
        )
    });
    cases.push(Case {
        library: Library::BoringSsl,
        version: None,
        ..case("grpcio, which has no symbols", wheel("grpcio", "cygrpc"), WHEEL, "", STATIC, &[])
    });
    for case in &mut cases {
        case.path.take_if(|path| !path.exists());
    }
    cases
}

const GNUTLS: &[&str] = &[
    "gnutls_record_recv",
    "gnutls_record_recv_seq",
    "gnutls_record_recv_early_data",
    "gnutls_record_send2",
    "gnutls_record_send_early_data",
    "gnutls_handshake",
    "gnutls_deinit",
];
/// Each only jumps on into the other.
const FORWARDING: [(&str, &str); 2] =
    [("SSL_write_ex", "SSL_write_ex2"), ("gnutls_record_send", "gnutls_record_send2")];

fn main() -> ExitCode {
    let mut trials: Vec<Trial> = cases().into_iter().map(trial).collect();
    trials.push(Trial::test("libraries without TLS are none", || {
        for name in ["libc.so.6", "libstdc++.so.6", "libz.so.1", "libpthread.so.0"] {
            let path = Path::new("/lib/x86_64-linux-gnu").join(name);
            if path.exists() {
                let file = ElfFile::open(&path).unwrap();
                assert_eq!(inspect(&file, &path), [], "{name}");
            }
        }
        Ok(())
    }));
    trials.extend(go::trials());
    trials.push(rustls());
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// In the program of the end-to-end tests, if they have built it.
fn rustls() -> Trial {
    let path = cache().map(|cache| cache.join("rust/rustls-0.23.46-ring/program"));
    let path = path.filter(|path| path.exists());
    let (skipped, name) = (path.is_none(), "a program with rustls");
    let advice = if skipped { ": skipped, the end-to-end tests build it" } else { "" };
    let found = move || {
        let path = path.ok_or("there is none")?;
        let file = ElfFile::open(&path)?;
        let target = only(inspect(&file, &path))?;
        assert_eq!((target.library, target.abi), (Library::Rustls, Abi::Rust));
        assert_eq!(target.version.as_deref(), Some("0.23.46"));
        let symbols = symbols(&path);
        let functions = symbols.iter().filter(|(name, _)| name.contains("crypto..cipher..Message"));
        let functions: Vec<(u64, u64)> = functions.map(|(_, function)| *function).collect();
        for point in &target.points {
            // Jumps by a table may lead anywhere, as far as the decoder can tell.
            let returns = match &point.returns {
                Returns::At(returns) => returns.as_slice(),
                Returns::Uretprobe(place) => std::slice::from_ref(place),
                other => panic!("{other:?} of {point:?}"),
            };
            assert!(is_emulated(&file, point.entry), "{point:?}");
            for place in returns.iter().chain([&point.entry]) {
                let address = file.address(*place).unwrap();
                let is_in = |(start, size): &(u64, u64)| (*start..start + size).contains(&address);
                assert!(functions.iter().any(is_in), "{point:?} at {address:x}");
            }
        }
        let calls: Vec<Call> = target.points.iter().map(|point| point.call).collect();
        let count = |wanted| calls.iter().filter(|call| **call == wanted).count();
        assert_eq!((count(Call::Encrypt), count(Call::Decrypt)), (3, 3), "{calls:?}");
        Ok(())
    };
    Trial::test(format!("{name}{advice}"), found).with_ignored_flag(skipped)
}

/// The one library that is found in a file.
fn only(mut found: Vec<Result<Target, Refusal>>) -> Result<Target, Failed> {
    let last = found.pop().ok_or("nothing is found in it")?;
    assert_eq!(found, [], "and {last:?}");
    Ok(last?)
}

fn trial(case: Case) -> Trial {
    let skipped = case.path.is_none();
    let reason = if skipped { format!(": skipped, {}", case.advice) } else { String::new() };
    let name = format!("{}{reason}", case.name);
    Trial::test(name, move || is_found(&case)).with_ignored_flag(skipped)
}

fn is_found(case: &Case) -> Result<(), Failed> {
    let path = case.path.as_deref().unwrap();
    let file = ElfFile::open(path)?;
    let target = only(inspect(&file, path))?;
    assert_eq!((target.library, target.abi), (case.library, Abi::C));
    match (case.version, &target.version) {
        (Some(expected), Some(version)) => assert!(version.starts_with(expected), "{version}"),
        (None, None) => {}
        (expected, version) => panic!("version {version:?} instead of {expected:?}"),
    }
    let found: BTreeSet<&str> = target.points.iter().map(|point| point.symbol.as_str()).collect();
    let missing: Vec<_> = case.functions.iter().filter(|name| !found.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:?} are not in {found:?}");
    for (outer, inner) in FORWARDING {
        assert!(!(found.contains(outer) && found.contains(inner)), "{found:?}");
    }
    lies_in_its_functions(&file, path, &target);
    for name in case.cheap {
        let point = target.points.iter().find(|point| point.symbol == *name).unwrap();
        assert!(is_emulated(&file, point.entry), "{point:?}");
        match &point.returns {
            Returns::At(places) => {
                assert!(places.iter().all(|place| is_emulated(&file, *place)), "{point:?}");
            }
            Returns::None => assert_eq!(point.call, Call::BioWrite),
            other => panic!("{name}: {other:?}"),
        }
    }
    Ok(())
}

/// Every place is within the function as `nm` tells where it is.
fn lies_in_its_functions(file: &ElfFile, path: &Path, target: &Target) {
    let symbols = symbols(path);
    if !symbols.contains_key("SSL_read") && target.library == Library::BoringSsl {
        return; // It was stripped: nothing else tells where they are.
    }
    for point in &target.points {
        let (start, size) = symbols[point.symbol.as_str()];
        let mut places = vec![point.entry];
        match &point.returns {
            Returns::At(returns) => places.extend(returns),
            Returns::Uretprobe(place) => places.push(*place),
            _ => {}
        }
        for place in places {
            let address = file.address(place).unwrap();
            assert!((start..start + size).contains(&address), "{point:?} at {start:x}");
        }
    }
}

fn symbols(path: &Path) -> BTreeMap<String, (u64, u64)> {
    let mut symbols = BTreeMap::new();
    for options in [&["-S", "--defined-only"][..], &["-D", "-S", "--defined-only"]] {
        let output = Command::new("nm").args(options).arg(path).output().unwrap();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            if let [address, size, _, name] = *fields {
                let number = |text| u64::from_str_radix(text, 16).unwrap();
                let name = name.split('@').next().unwrap().to_owned();
                symbols.insert(name, (number(address), number(size)));
            }
        }
    }
    symbols
}

/// Whether there is a `push`, `nop`, jump or conditional jump.
fn is_emulated(file: &ElfFile, place: u64) -> bool {
    let section = file.sections().iter().find(|section| {
        section.executable && (section.offset..section.offset + section.size).contains(&place)
    });
    let section = section.unwrap();
    let code = file.read(section, u64::MAX).unwrap();
    let at = usize::try_from(place - section.offset).unwrap();
    match code[at..] {
        [0x0f, second, ..] => (0x80..0x90).contains(&second),
        [0x41, second, ..] => (0x50..0x58).contains(&second),
        [first, ..] => matches!(first, 0x50..=0x57 | 0x70..=0x7f | 0x90 | 0xe9 | 0xeb),
        [] => false,
    }
}

fn cache() -> Option<PathBuf> {
    Some(PathBuf::from(env::var_os("HOME")?).join(".cache/pixie"))
}

/// The file below a folder whose name has this part in it.
fn find(folder: &Path, part: &str) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).ok()?.map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries.into_iter().find_map(|path| match path.is_dir() {
        true => find(&path, part),
        false => path.file_name()?.to_str()?.contains(part).then_some(path),
    })
}
