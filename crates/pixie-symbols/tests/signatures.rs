//! Functions of stripped programs, found by signatures that are made from the unstripped ones.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test asserts by panicking, in its helpers too"
)]

use pixie_symbols::{ElfFile, SignatureMatches, Signatures};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = r#"
#include <stdio.h>
#ifndef TEXT
#define TEXT "path/of/some.c"
#endif
__attribute__((noipa)) int inner(int value) { return printf("%d\n", value) * 0x1234567 ^ 0x89abcde; }
__attribute__((noipa)) int outer(int value) {
    if (value < 0) { printf(TEXT); return -1; }
    return inner(value) + inner(value * 0x7654321 + 0x1f2e3d4c);
}
#ifdef TWICE
__attribute__((noipa)) int again(int value) { return printf("%d\n", value) * 0x1234567 ^ 0x89abcde; }
#endif
int main(int count, char **arguments) {
#ifdef TWICE
    count = again(count);
#endif
#ifdef MORE
    count += puts(MORE);
#endif
    return outer(count);
}
"#;

/// Compiles the source above with these options, and a copy that is stripped.
fn compile(name: &str, options: &[&str]) -> (PathBuf, ElfFile) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source, program) = (folder.join(format!("{name}.c")), folder.join(name));
    fs::write(&source, SOURCE).unwrap();
    let run = |command: &mut Command| {
        assert!(command.status().expect("gcc and binutils are needed").success());
    };
    run(Command::new("gcc").args(["-O2", "-o"]).args([&program, &source]).args(options));
    let stripped = program.with_extension("stripped");
    run(Command::new("strip").arg("-o").args([&stripped, &program]));
    (program, ElfFile::open(stripped).unwrap())
}

/// Writes the signatures of both functions, with the example that people use.
fn signatures(program: &Path, text: &str) -> Signatures {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--package", "pixie-symbols", "--example", "signature", "--"]);
    cargo.args(["--origin", "a test", "--text", text]).arg(program).args(["outer", "inner"]);
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let written = String::from_utf8(output.stdout).unwrap();
    Signatures::parse(&written).expect(&written)
}

/// Where the symbols say that the functions are.
fn addresses(program: &Path) -> [u64; 2] {
    let symbols = ElfFile::open(program).unwrap().symbols().unwrap();
    ["outer", "inner"].map(|name| symbols.named(name).next().unwrap().address)
}

fn found(matches: &SignatureMatches) -> Vec<u64> {
    ["outer", "inner"].iter().filter_map(|name| matches.address(name)).collect()
}

#[test]
fn functions_of_other_builds_are_found_without_their_symbols() {
    let (program, stripped) = compile("signature_first", &[]);
    assert!(stripped.symbols().unwrap().named("outer").next().is_none(), "it has symbols");
    let signatures = signatures(&program, "some.c");
    let matches = signatures.find(&stripped).unwrap().expect("it has the text");
    assert_eq!(found(&matches), addresses(&program));
    assert!(matches.absent.is_empty() && matches.ambiguous.is_empty(), "{matches:?}");
    assert_eq!(matches.found[0].origin, "a test");

    // Here all is elsewhere, and one of them is there twice.
    let (program, stripped) = compile("signature_twice", &["-DTWICE"]);
    let [outer, inner] = addresses(&program);
    let matches = signatures.find(&stripped).unwrap().expect("it has the text");
    assert_eq!(
        (matches.address("outer"), matches.address("inner")),
        (Some(outer), None),
        "{inner}"
    );
    assert_eq!(matches.ambiguous, [("inner".to_owned(), 2)]);
    // Of what another compiler made, nothing is taken for it.
    let (_, stripped) = compile("signature_otherwise", &["-O0"]);
    let matches = signatures.find(&stripped).unwrap().expect("it has the text");
    assert_eq!((found(&matches), matches.absent), (vec![], vec!["outer".into(), "inner".into()]));
}

#[test]
fn programs_that_cannot_be_moved_have_the_addresses_of_texts_in_them() {
    let options = ["-no-pie", "-fno-pie"];
    let (program, stripped) = compile("signature_fixed", &options);
    let signatures = signatures(&program, "some.c");
    let matches = signatures.find(&stripped).unwrap().expect("it has the text");
    assert_eq!(found(&matches), addresses(&program));
    // The text is compared, not only its place.
    let other = ["-no-pie", "-fno-pie", "-DTEXT=\"other.c\"", "-DMORE=\"some.c\""];
    let (_, stripped) = compile("signature_fixed_other", &other);
    let matches = signatures.find(&stripped).unwrap().expect("it has the text");
    assert_eq!(matches.address("outer"), None, "what it leads to is another text");
}

#[test]
fn a_file_that_has_not_got_the_text_is_not_searched() {
    let (program, stripped) = compile("signature_text", &[]);
    let signatures = signatures(&program, "some.c");
    assert!(signatures.find(&stripped).unwrap().is_some());
    let (_, other) = compile("signature_other", &["-DTEXT=\"other.c\""]);
    assert_eq!(signatures.find(&other).unwrap(), None);
}
