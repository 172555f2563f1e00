//! Call stacks of programs that know their own: in all languages, as compilers and linkers make them.

use crate::process;
use crate::profiler::{frequency, judge, sample_all};
use crate::programs;
use crate::runner::{Outcome, Setup, Skip, skip, tests};
use crate::stacks::{Known, Sampling, Share, is_of_unknown_process, names};
use pixie::Profiling;
use pixie::record::Stack;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

tests! {
    once: c, musl, cplusplus, rust, rust_that_aborts, go, go_that_calls_c, names_of_a_debug_file, libraries_come_and_go,
        replaced_while_it_runs, another_mount_namespace;
}

/// How many samples are taken of each program.
const PER_PROGRAM: u64 = 250;

/// Where programs are built.
fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("profiled");
    std::fs::create_dir_all(&folder).expect("the target folder is writable");
    folder
}

/// Builds a program from one source, unless it is there and newer than that.
pub(crate) fn build(
    compiler: &str,
    options: &[&str],
    source: &str,
    name: &str,
) -> Result<PathBuf, Skip> {
    let source = programs::sources().join(source);
    if !source.is_file() {
        skip!("there is no compiler here");
    }
    let program = folder().join(name);
    let modified = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    if modified(&program) > modified(&source) {
        return Ok(program);
    }
    let mut command = match compiler {
        // A shim of a version manager is as good.
        "rustc" => Command::new("rustc"),
        _ => programs::command(compiler)?,
    };
    command.current_dir(folder()).args(options).arg("-o").arg(&program).arg(&source);
    if compiler == "go" {
        let home = folder().join("go");
        command = programs::command("go")?;
        command.env("GOCACHE", home.join("cache")).env("GOPATH", home).env("GO111MODULE", "off");
        command.arg("build").args(options).arg("-o").arg(&program).arg(&source);
    }
    let output = process::output(&mut command);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}:\n{errors}");
    Ok(program)
}

/// Builds a program in each of these ways, and starts all: only then, since they spin.
fn start_all(source: &str, variants: &[(&str, &str)]) -> Result<Vec<Known>, Skip> {
    let mut built = Vec::new();
    for (compiler, options) in variants {
        let label = format!("{compiler} {options}");
        let name = format!("{source} {label}").replace([' ', '/', '='], "_");
        let list: Vec<_> = match *compiler {
            "go" => options.split("; ").filter(|option| !option.is_empty()).collect(),
            _ => options.split_ascii_whitespace().collect(),
        };
        let program = match build(compiler, &list, source, &name) {
            Ok(program) => program,
            Err(Skip(reason)) => {
                println!("  without {label}: {reason}");
                continue;
            }
        };
        built.push((label, program));
    }
    if built.is_empty() {
        skip!("there is no compiler for {source}");
    }
    built
        .into_iter()
        .map(|(label, program)| {
            // Go interrupts what runs for long by signals: right, but not in the chain.
            Known::start(label, Command::new(program).env("GODEBUG", "asyncpreemptoff=1"))
        })
        .collect()
}

fn c(setup: &Setup) -> Outcome {
    let gcc = [
        "-O0",
        "-O1",
        "-O2",
        "-O3",
        "-Os",
        "-O2 -fno-omit-frame-pointer",
        "-O3 -fomit-frame-pointer -fcf-protection=none",
        "-O2 -flto",
        "-O2 -static",
        "-O2 -static-pie",
        "-O2 -no-pie -fno-pie",
        // Names are in .dynsym alone.
        "-O2 -s -rdynamic",
    ];
    let clang = [
        "-O0",
        "-O2",
        "-O3 -flto",
        "-O2 -static",
        // No unwind information of its own, as in the kernel and some run-time systems. (gcc gives no
        // frame pointer to a leaf, whatever it is asked for.)
        "-O1 -fno-omit-frame-pointer -mno-omit-leaf-frame-pointer -fno-asynchronous-unwind-tables -fno-unwind-tables",
    ];
    let of = |compiler, options: &[&'static str]| {
        options.iter().map(|options| (compiler, *options)).collect::<Vec<_>>()
    };
    let variants = [of("gcc", &gcc), of("clang", &clang)].concat();
    judge(setup, &start_all("stacks.c", &variants)?, PER_PROGRAM)
}

/// musl has no unwind information: what called `main` cannot be known.
fn musl(setup: &Setup) -> Outcome {
    let variants = [("musl-gcc", "-O0"), ("musl-gcc", "-O2"), ("musl-gcc", "-O2 -static")];
    let all = start_all("stacks.c", &variants)?;
    let sampled = sample_all(setup, &all, PER_PROGRAM)?;
    for known in &all {
        let share = known.judge_functions(sampled.of(known.pid()));
        share.expect(&known.label, PER_PROGRAM / 4, 999);
    }
    Ok(())
}

fn cplusplus(setup: &Setup) -> Outcome {
    let options = ["-O0", "-O2", "-O3 -flto", "-O2 -static", "-O2 -fno-omit-frame-pointer"];
    let variants: Vec<_> = ["g++", "clang++"]
        .into_iter()
        .flat_map(|compiler| options.map(|options| (compiler, options)))
        .collect();
    judge(setup, &start_all("stacks/chain.cpp", &variants)?, PER_PROGRAM)
}

fn rust(setup: &Setup) -> Outcome {
    let variants = [
        ("rustc", "-Copt-level=0"),
        ("rustc", "-Copt-level=3"),
        ("rustc", "-Copt-level=3 -Clto=fat -Ccodegen-units=1"),
        ("rustc", "-Copt-level=3 -Cforce-frame-pointers=yes"),
        ("rustc", "-Copt-level=3 -Csymbol-mangling-version=v0"),
        ("rustc", "-Copt-level=3 -Cpanic=abort -Cforce-frame-pointers=yes"),
    ];
    judge(setup, &start_all("stacks/chain.rs", &variants)?, PER_PROGRAM)
}

/// `main`, which the compiler makes, then has no unwind information, whatever is asked for: what called it
/// is not known unless it keeps a frame pointer. All that it calls is.
fn rust_that_aborts(setup: &Setup) -> Outcome {
    let all = start_all("stacks/chain.rs", &[("rustc", "-Copt-level=3 -Cpanic=abort")])?;
    let sampled = sample_all(setup, &all, PER_PROGRAM)?;
    for known in &all {
        known.judge_functions(sampled.of(known.pid())).expect(&known.label, PER_PROGRAM / 4, 999);
        let mut from_main = Share::default();
        for stack in sampled.of(known.pid()).filter(|stack| !is_of_unknown_process(stack)) {
            let (names, cut) = (names(stack), stack.cut.as_ref());
            let whole = cut.is_none() && names.iter().any(|name| name == "_start");
            let cut = cut.is_some_and(|cut| *cut == "no_unwind_information")
                && names.first().is_some_and(|root| root == "main");
            from_main.add(stack.count, whole || cut, || stack.to_string());
        }
        from_main.expect("from main", PER_PROGRAM / 4, 999);
    }
    Ok(())
}

fn go(setup: &Setup) -> Outcome {
    let variants =
        [("go", ""), ("go", "-ldflags=-s -w"), ("go", "-gcflags=-N -l"), ("go", "-buildmode=pie")];
    judge_go(setup, &start_all("stacks/chain.go", &variants)?)
}

fn go_that_calls_c(setup: &Setup) -> Outcome {
    programs::find("gcc")?;
    judge_go(setup, &start_all("stacks/cgo.go", &[("go", "")])?)
}

/// As [`judge`], but for what Go's runtime does in threads of its own: that must be whole.
fn judge_go(setup: &Setup, all: &[Known]) -> Outcome {
    let sampled = sample_all(setup, all, PER_PROGRAM)?;
    let is_ours = |stack: &Stack| names(stack).iter().any(|name| name.starts_with("main."));
    let mut total = Share::default();
    for known in all {
        let share = known.judge(sampled.of(known.pid()).filter(|stack| is_ours(stack)));
        share.expect(&known.label, PER_PROGRAM / 4, 990);
        total.merge(&share);
    }
    total.expect("all of them", PER_PROGRAM, 999);
    let runtime = sampled.known().filter(|stack| !is_ours(stack));
    let mut whole = Share::default();
    for stack in runtime {
        whole.add(stack.count, stack.cut.is_none(), || stack.to_string());
    }
    whole.expect("of Go's runtime", 0, 900);
    Ok(())
}

fn names_of_a_debug_file(setup: &Setup) -> Outcome {
    let program = build("gcc", &["-O2", "-g", "-Wl,--build-id"], "stacks.c", "with_debug_file")?;
    let file = pixie_symbols::ElfFile::open(&program).unwrap();
    let id = file.build_id().expect("it has one").to_string();
    let root = folder().join("debug_root");
    let debug = root.join("usr/lib/debug/.build-id").join(&id[..2]);
    std::fs::create_dir_all(&debug).unwrap();
    let debug = debug.join(format!("{}.debug", &id[2..]));
    let stripped = folder().join("without_names");
    let objcopy = |option: &str, to: &Path| {
        let mut command = programs::command("objcopy")?;
        process::run(command.arg(option).arg(&program).arg(to));
        Ok::<_, Skip>(())
    };
    objcopy("--only-keep-debug", &debug)?;
    objcopy("--strip-all", &stripped)?;
    let known = Known::start("stripped", &mut Command::new(&stripped))?;
    let profiling = Profiling::new(frequency(setup)).debug_root(&root).lines();
    let sampling = Sampling::start(setup, profiling, &[known.pid()])?;
    let sampled = sampling.until(300, setup.patience(Duration::from_secs(30)));
    known.judge(sampled.of(known.pid())).expect("names of a debug file", 100, 999);
    for stack in sampled.of(known.pid()) {
        let leaf = stack.frames.iter().find(|frame| !frame.kernel).unwrap();
        assert!(leaf.file.as_ref().is_some_and(|file| file.to_str().ends_with("stacks.c")));
        assert!(leaf.line.is_some());
    }
    Ok(())
}

fn library(name: &str, options: &[&str]) -> Result<PathBuf, Skip> {
    let all = [&["-O2", "-shared", "-fPIC"], options].concat();
    build("gcc", &all, "stacks/library.c", name)
}

fn libraries_come_and_go(setup: &Setup) -> Outcome {
    let first = library("library.so", &[])?;
    let other = library("other_library.so", &["-Dlibrary_leaf=another_leaf", "-O0"])?;
    let place = folder().join("loaded.so");
    std::fs::copy(&first, &place).unwrap();
    let program = build("gcc", &["-O2"], "stacks.c", "for_libraries")?;
    let known = Known::start("library", Command::new(program).arg("library").arg(&place))?;
    let sampling = Sampling::start(setup, frequency(setup), &[known.pid()])?;
    std::thread::sleep(setup.patience(Duration::from_secs(2)));
    // Another file at the same path, from the next time that it is loaded.
    let half = folder().join("loaded.half");
    std::fs::copy(&other, &half).unwrap();
    std::fs::rename(&half, &place).unwrap();
    let sampled = sampling.go_on_for(setup.patience(Duration::from_secs(4)));
    let mut leaves = std::collections::BTreeMap::<String, u64>::new();
    // How soon it is known what was loaded depends on the machine's load.
    for stack in sampled.of(known.pid()).filter(|stack| stack.cut.is_none()) {
        *leaves.entry(names(stack).last().cloned().unwrap_or_default()).or_default() += stack.count;
    }
    println!("  {leaves:?}");
    let of = |name: &str| leaves.get(name).copied().unwrap_or_default();
    assert!(of("library_leaf") > 20 && of("another_leaf") > 20, "{leaves:?}");
    let total: u64 = leaves.values().sum();
    assert!(of("library_leaf") + of("another_leaf") > total * 95 / 100, "{leaves:?}");
    sampled.whole(|_| true).expect("libraries that come and go", 100, 800);
    Ok(())
}

fn replaced_while_it_runs(setup: &Setup) -> Outcome {
    let program = build("gcc", &["-O2"], "stacks.c", "to_be_replaced")?;
    let copy = folder().join("replaced");
    std::fs::copy(&program, &copy).unwrap();
    let known = Known::start("replaced", &mut Command::new(&copy))?;
    let other = build("g++", &["-O2"], "stacks/chain.cpp", "replacement")?;
    let half = folder().join("replaced.half");
    std::fs::copy(other, &half).unwrap();
    std::fs::rename(&half, &copy).unwrap();
    let deleted = folder().join("deleted");
    std::fs::copy(&program, &deleted).unwrap();
    let gone = Known::start("deleted", &mut Command::new(&deleted))?;
    std::fs::remove_file(&deleted).unwrap();
    judge(setup, &[known, gone], 300)
}

fn another_mount_namespace(setup: &Setup) -> Outcome {
    let program = build("gcc", &["-O2"], "stacks.c", "in_a_namespace")?;
    let mut command = programs::command("unshare")?;
    let script = "mount -t tmpfs none /mnt && cp \"$0\" /mnt/inside && exec /mnt/inside chain";
    command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script]).arg(program);
    let known = Known::start("namespace", &mut command)?;
    let sampling = Sampling::start(setup, frequency(setup), &[])?;
    let inside = |stack: &Stack| stack.process.comm == "inside" && !is_of_unknown_process(stack);
    let sampled = sampling.until_there_are(600, &inside, setup.patience(Duration::from_secs(30)));
    known.judge(sampled.stacks.iter().filter(|stack| inside(stack))).expect(
        "in a namespace",
        300,
        999,
    );
    Ok(())
}
