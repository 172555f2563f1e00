//! Where in the functions of real libraries probes are attached, held against objdump's reading of
//! the same code.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test asserts by panicking, in its helpers too"
)]

use libtest_mimic::{Arguments, Trial};
use pixie_symbols::{ElfFile, ProbePlace};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Libraries of Debian's, and functions of theirs whose edges are known to be cheap.
const LIBRARIES: [(&str, &[&str]); 4] = [
    ("libssl.so.3", &["SSL_read", "SSL_write"]),
    ("libcrypto.so.3", &["BIO_write"]),
    ("libgnutls.so.30", &[]),
    ("libc.so.6", &[]),
];

fn main() -> ExitCode {
    let mut trials = Vec::new();
    for (library, cheap) in LIBRARIES {
        let path = Path::new("/lib/x86_64-linux-gnu").join(library);
        let skipped = !path.exists() || Command::new("objdump").arg("-v").output().is_err();
        let reason = if skipped { ": skipped, needs it and objdump of Debian, amd64" } else { "" };
        let test = move || {
            places_are_right(&path, cheap);
            Ok(())
        };
        trials.push(Trial::test(format!("{library}{reason}"), test).with_ignored_flag(skipped));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn places_are_right(path: &Path, cheap: &[&str]) {
    let code = disassemble(path);
    let file = ElfFile::open(path).unwrap();
    let symbols = file.symbols().unwrap();
    let (mut looked_at, mut entries, mut returns) = (0, 0, 0);
    for symbol in symbols.iter().filter(|symbol| symbol.size > 0 && !symbol.indirect) {
        let name = String::from_utf8_lossy(symbol.name).into_owned();
        let points = file.attach_points(symbol.address, symbol.size).unwrap();
        let body: Vec<(u64, &str)> = code
            .range(symbol.address..symbol.address + symbol.size)
            .map(|(address, text)| (*address, text.as_str()))
            .collect();
        let at = |place: &ProbePlace| {
            let address = file.address(place.offset).unwrap();
            let found = body.iter().position(|(at, _)| *at == address);
            found.unwrap_or_else(|| panic!("{name}: {address:x} is no instruction"))
        };
        looked_at += 1;
        entries += usize::from(points.entry.emulated);
        entry_is_right(&name, &body, at(&points.entry), &ARGUMENTS);
        entry_is_right(&name, &body, at(&points.return_probe), &[["rsp", "esp", "sp", "spl"]]);
        if let Some(places) = &points.returns {
            returns += 1;
            let places: Vec<usize> = places.iter().map(at).collect();
            returns_are_right(&name, &body, &places);
        }
    }
    let counts = format!("of {looked_at}, {entries} have cheap entries, {returns} known returns");
    assert!(looked_at > 300 && entries * 3 > looked_at && returns * 2 > looked_at, "{counts}");
    for name in cheap {
        let symbol = symbols.named(name).next().unwrap();
        let points = file.attach_points(symbol.address, symbol.size).unwrap();
        assert!(points.entry.emulated, "{name}: {points:?}");
        assert!(points.returns.unwrap().iter().all(|place| place.emulated), "{name}");
    }
}

const ARGUMENTS: [[&str; 4]; 6] = [
    ["rdi", "edi", "di", "dil"],
    ["rsi", "esi", "si", "sil"],
    ["rdx", "edx", "dx", "dl"],
    ["rcx", "ecx", "cx", "cl"],
    ["r8", "r8d", "r8w", "r8b"],
    ["r9", "r9d", "r9w", "r9b"],
];

/// No jump, call or change of an argument comes before the place; nothing jumps in between.
fn entry_is_right(name: &str, body: &[(u64, &str)], place: usize, kept: &[[&str; 4]]) {
    for (address, text) in &body[..place] {
        let (mnemonic, operands) = text.split_once(' ').unwrap_or((text, ""));
        let flow = ["j", "call", "ret", "loop", "xbegin"];
        assert!(!flow.iter().any(|flow| mnemonic.starts_with(flow)), "{name} {address:x} {text}");
        let reads = ["cmp", "test", "push", "bt "].iter().any(|reads| mnemonic.starts_with(reads));
        let changed = operands.trim().rsplit(',').next().unwrap_or_default();
        let changed = changed.trim().trim_start_matches('%');
        let kept = kept.iter().flatten().any(|register| *register == changed);
        assert!(reads || !kept, "{name} {address:x} {text} changes an argument");
    }
    for (address, target) in jumps(body) {
        let inside = place > 0 && body[0].0 < target && target <= body[place].0;
        assert!(!inside, "{name}: {address:x} jumps to {target:x}, before the probe");
    }
}

/// There is one place for each return; what comes after it does not change the result, and nothing
/// jumps in between.
fn returns_are_right(name: &str, body: &[(u64, &str)], places: &[usize]) {
    let is_return = |text: &str| text.split(' ').any(|word| word == "ret");
    let all: Vec<usize> = (0..body.len()).filter(|index| is_return(body[*index].1)).collect();
    assert_eq!(all.len(), places.len(), "{name}");
    let (first, end) = (body[0].0, body[body.len() - 1].0 + 16);
    for (address, target) in jumps(body) {
        assert!((first..end).contains(&target), "{name} leaves at {address:x}");
    }
    for (place, back) in places.iter().zip(all) {
        assert!(*place <= back);
        for (address, text) in &body[place + 1..=back] {
            let word = text.split(' ').next().unwrap_or_default();
            assert!(!word.starts_with('j') && !word.starts_with("call"), "{name} {address:x}");
            let changed = text.rsplit([',', ' ']).next().unwrap_or_default();
            let result = ["%rax", "%eax", "%ax", "%al", "%ah"].contains(&changed);
            let reads = ["cmp", "test", "push"].iter().any(|reads| word.starts_with(reads));
            assert!(reads || !result, "{name} {address:x} {text} changes the result");
            for (from, target) in jumps(body) {
                assert!(target != *address, "{name} {from:x} jumps past the probe to {target:x}");
            }
        }
    }
}

fn jumps<'a>(body: &'a [(u64, &'a str)]) -> impl Iterator<Item = (u64, u64)> + 'a {
    body.iter().filter_map(|(address, text)| {
        let (mnemonic, operand) = text.split_once(' ')?;
        let (mnemonic, operand) = match mnemonic {
            "bnd" | "notrack" => operand.trim().split_once(' ')?,
            _ => (mnemonic, operand),
        };
        let jump = mnemonic.starts_with('j') || mnemonic.starts_with("loop");
        let target = operand.trim().split(' ').next()?;
        jump.then(|| u64::from_str_radix(target, 16).ok())
            .flatten()
            .map(|target| (*address, target))
    })
}

/// All instructions of a file's code, by address.
fn disassemble(path: &Path) -> BTreeMap<u64, String> {
    let mut objdump = Command::new("objdump");
    let output = objdump.args(["-d", "--no-show-raw-insn"]).arg(path).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let instructions = text.lines().filter_map(|line| {
        let (address, instruction) = line.trim_start().split_once(":\t")?;
        let instruction = instruction.split(" #").next()?.trim();
        // A name in angle brackets is a comment too.
        let instruction = instruction.split(" <").next()?.trim();
        Some((u64::from_str_radix(address, 16).ok()?, instruction.to_owned()))
    });
    instructions.collect()
}
