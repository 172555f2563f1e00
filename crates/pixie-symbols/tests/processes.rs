//! Addresses of real processes: this one, deleted programs, programs in another root folder.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test asserts by panicking, in its helpers too"
)]

use libtest_mimic::{Arguments, Trial};
use pixie_symbols::{ElfFile, Place, Process, Symbolizer, SymbolizerOptions, Unknown};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

/// What keeps a test from running here.
type Missing = Option<&'static str>;

/// Its name, what it needs, and what it does.
type Test = (&'static str, fn() -> Missing, fn());

const TESTS: [Test; 11] = [
    ("functions_of_this_process_are_named", nothing, functions_of_this_process_are_named),
    (
        "the_librarys_functions_that_the_kernel_maps_are_named",
        vdso,
        the_librarys_functions_that_the_kernel_maps_are_named,
    ),
    (
        "a_program_that_was_deleted_and_has_ended_is_named_if_it_was_located",
        root,
        a_program_that_was_deleted_and_has_ended_is_named_if_it_was_located,
    ),
    ("a_program_in_another_root_folder_is_named", root, a_program_in_another_root_folder_is_named),
    (
        "lines_and_inlined_functions_are_told_however_the_debug_information_is_kept",
        nothing,
        lines_and_inlined_functions_are_told_however_the_debug_information_is_kept,
    ),
    (
        "debug_files_are_found_by_build_id_and_by_link",
        nothing,
        debug_files_are_found_by_build_id_and_by_link,
    ),
    (
        "more_debug_information_than_the_budget_costs_the_lines_and_not_the_name",
        nothing,
        more_debug_information_than_the_budget_costs_the_lines_and_not_the_name,
    ),
    (
        "symbols_that_were_left_compressed_in_a_stripped_program_are_found",
        xz,
        symbols_that_were_left_compressed_in_a_stripped_program_are_found,
    ),
    (
        "functions_made_at_run_time_have_the_names_that_were_written_down",
        node,
        functions_made_at_run_time_have_the_names_that_were_written_down,
    ),
    (
        "functions_of_the_kernel_are_named_or_hidden",
        kallsyms,
        functions_of_the_kernel_are_named_or_hidden,
    ),
    ("what_is_not_used_makes_room", nothing, what_is_not_used_makes_room),
];

fn main() -> ExitCode {
    let trials = TESTS.map(|(name, missing, test)| {
        let missing = missing();
        let name = missing.map_or(name.to_owned(), |missing| format!("{name}: skipped, {missing}"));
        let run = move || {
            test();
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(missing.is_some())
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

fn nothing() -> Missing {
    None
}

fn unless(here: bool, advice: &'static str) -> Missing {
    (!here).then_some(advice)
}

fn root() -> Missing {
    unless(fs::read_dir("/proc/1/map_files").is_ok(), "it needs root")
}

fn node() -> Missing {
    unless(Path::new("/usr/bin/node").exists(), "apt-get install nodejs")
}

fn xz() -> Missing {
    unless(Path::new("/usr/bin/xz").exists(), "apt-get install xz-utils")
}

fn vdso() -> Missing {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    unless(maps.contains("[vdso]"), "the kernel maps no vDSO")
}

fn kallsyms() -> Missing {
    unless(Path::new("/proc/kallsyms").exists(), "the kernel has no CONFIG_KALLSYMS")
}

/// A function to look for in this very program.
#[inline(never)]
fn landmark(value: u64) -> u64 {
    std::hint::black_box(value) + 1
}

/// A program that waits, with an inlined function in what it waits in.
const SOURCE: &str = r#"
#include <unistd.h>
static inline __attribute__((always_inline)) int twice(int value) {
    return value * 2 + (int)sleep(1000);
}
__attribute__((noinline)) int waits(int value) {
    return twice(value) + 1;
}
int main(int count, char **arguments) { return waits(count); }
"#;

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn compile(folder: &Path, options: &[&str]) -> PathBuf {
    let (source, program) = (folder.join("waits.c"), folder.join("waits"));
    fs::write(&source, SOURCE).unwrap();
    run(Command::new("gcc").args(["-O1", "-g"]).args(options).arg("-o").args([&program, &source]));
    program
}

fn run(command: &mut Command) {
    assert!(command.status().expect("apt-get install gcc binutils").success(), "{command:?}");
}

/// A process that ends with the test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command, program: &Path) -> Self {
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let running = Self(child);
        // It is the program only once it was executed, and has its libraries after that.
        loop {
            let process = Process::new(running.0.id());
            let ready = process.is_ok_and(|process| {
                process.mappings().iter().any(|mapping| mapping.path.ends_with(program))
            });
            if ready {
                return running;
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where a function of the program is in the process.
fn address_of(process: &Process, program: &ElfFile, name: &str) -> u64 {
    let symbol = program.symbols().unwrap().named(name).next().unwrap().address;
    let offset = program.file_offset(symbol).unwrap();
    let mappings = process.mappings().iter().filter(|mapping| mapping.path.ends_with("waits"));
    let covers = |mapping: &&pixie_symbols::Mapping| {
        (mapping.offset..mapping.offset + (mapping.end - mapping.start)).contains(&offset)
    };
    let mapping = mappings.into_iter().find(covers).unwrap();
    mapping.start + (offset - mapping.offset)
}

fn names(symbolizer: &mut Symbolizer, place: Place) -> Vec<String> {
    let frames = symbolizer.name(place).unwrap();
    frames.iter().map(|frame| frame.function.to_string()).collect()
}

fn functions_of_this_process_are_named() {
    assert_eq!(landmark(1), 2);
    let mut symbolizer = Symbolizer::new(SymbolizerOptions::default());
    let process = Process::new(std::process::id()).unwrap();
    let place =
        symbolizer.locate(&process, landmark as fn(u64) -> u64 as usize as u64 + 1).unwrap();
    assert_eq!(names(&mut symbolizer, place), ["processes::landmark"]);
    let Place::File { file, .. } = place else { panic!("{place:?}") };
    assert_eq!(symbolizer.path(file), std::env::current_exe().ok().as_deref());
    assert!(symbolizer.memory() > 0);
    assert_eq!(symbolizer.locate(&process, 8), Err(Unknown::NotMapped));
}

fn the_librarys_functions_that_the_kernel_maps_are_named() {
    let mut symbolizer = Symbolizer::new(SymbolizerOptions::default());
    let process = Process::new(std::process::id()).unwrap();
    let vdso = process.mappings().iter().find(|mapping| mapping.path == Path::new("[vdso]"));
    let vdso = vdso.unwrap();
    let mut found = Vec::new();
    for address in (vdso.start..vdso.end).step_by(16) {
        if let Ok(frames) = symbolizer.locate(&process, address).and_then(|at| symbolizer.name(at))
        {
            found.push(frames[0].function.to_string());
        }
    }
    assert!(found.iter().any(|name| name.ends_with("clock_gettime")), "{found:?}");
}

fn a_program_that_was_deleted_and_has_ended_is_named_if_it_was_located() {
    let folder = folder("deleted");
    let program = compile(&folder, &[]);
    let running = Running::start(&mut Command::new(&program), Path::new("waits"));
    let elf = ElfFile::open(&program).unwrap();
    fs::remove_file(&program).unwrap();
    let process = Process::new(running.0.id()).unwrap();
    let address = address_of(&process, &elf, "waits");
    let mut symbolizer = Symbolizer::new(SymbolizerOptions::default());
    let place = symbolizer.locate(&process, address + 1).unwrap();
    drop(running);
    assert_eq!(names(&mut symbolizer, place), ["waits"]);
    let mut later = Symbolizer::new(SymbolizerOptions::default());
    assert_eq!(later.locate(&process, address), Err(Unknown::Unreadable), "it has ended");
}

fn a_program_in_another_root_folder_is_named() {
    let folder = folder("container");
    let program = compile(&folder, &["-static"]);
    let mut command = Command::new("chroot");
    let running = Running::start(command.arg(&folder).arg("/waits"), Path::new("waits"));
    let process = Process::new(running.0.id()).unwrap();
    let elf = ElfFile::open(&program).unwrap();
    let mut symbolizer = Symbolizer::new(SymbolizerOptions::default());
    let place = symbolizer.locate(&process, address_of(&process, &elf, "waits")).unwrap();
    assert_eq!(names(&mut symbolizer, place), ["waits"]);
}

fn lines_and_inlined_functions_are_told_however_the_debug_information_is_kept() {
    for (name, options) in
        [("plain", &[][..]), ("compressed", &["-gz"]), ("dwarf4", &["-gdwarf-4"])]
    {
        let program = compile(&folder(name), options);
        lines_of(&program, SymbolizerOptions::default(), name);
    }
}

fn debug_files_are_found_by_build_id_and_by_link() {
    for id in ["sha1", "none"] {
        let folder = folder(&format!("split-{id}"));
        let program = compile(&folder, &[&format!("-Wl,--build-id={id}")]);
        let debug = folder.join("waits.debug");
        let objcopy = || Command::new("objcopy");
        run(objcopy().arg("--only-keep-debug").args([&program, &debug]));
        run(Command::new("strip").arg(&program));
        run(objcopy().arg(format!("--add-gnu-debuglink={}", debug.display())).arg(&program));
        let mut options = SymbolizerOptions::default();
        if id == "sha1" {
            let whole = ElfFile::open(&program).unwrap().build_id().unwrap().to_string();
            let (first, rest) = whole.split_at(2);
            let place = folder.join("root/usr/lib/debug/.build-id").join(first);
            fs::create_dir_all(&place).unwrap();
            fs::rename(&debug, place.join(format!("{rest}.debug"))).unwrap();
            options.debug_roots.push(folder.join("root"));
        }
        lines_of(&program, options, id);
        if id == "none" {
            // One that is not the program's own is worse than none.
            let mut other = fs::read(&debug).unwrap();
            other.push(0);
            fs::write(&debug, other).unwrap();
            let mut symbolizer = Symbolizer::new(SymbolizerOptions::default());
            let file = symbolizer.open(&program).unwrap();
            assert!(symbolizer.name_at(file, waits_of(&program)).is_err());
        }
    }
}

/// The address of the function, from the program that was compiled in the same way.
fn waits_of(program: &Path) -> u64 {
    let folder = program.parent().unwrap();
    let debug = [folder.join("waits.debug"), program.to_owned()];
    let found = debug.iter().chain(&find_debug(folder)).find_map(|path| {
        let symbols = ElfFile::open(path).ok()?.symbols().ok()?;
        symbols.named("waits").next().map(|symbol| symbol.address)
    });
    found.unwrap()
}

fn find_debug(folder: &Path) -> Vec<PathBuf> {
    let ids = folder.join("root/usr/lib/debug/.build-id");
    let folders = fs::read_dir(ids).into_iter().flatten().flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).unwrap().flatten());
    files.map(|file| file.path()).collect()
}

fn lines_of(program: &Path, mut options: SymbolizerOptions, why: &str) {
    options.lines = true;
    let mut symbolizer = Symbolizer::new(options);
    let file = symbolizer.open(program).unwrap();
    let start = waits_of(program);
    let deepest = (start..start + 32)
        .filter_map(|address| symbolizer.name_at(file, address).ok())
        .find(|frames| frames.len() == 2)
        .unwrap_or_else(|| panic!("{why}: nothing is inlined"));
    let told: Vec<(&str, u32, bool)> = deepest
        .iter()
        .map(|frame| {
            let line = frame.line.as_ref().unwrap();
            assert!(line.file.ends_with("waits.c"), "{why}: {line:?}");
            (&*frame.function, line.line, frame.inlined)
        })
        .collect();
    assert_eq!(told, [("twice", 4, true), ("waits", 7, false)], "{why}");
}

fn more_debug_information_than_the_budget_costs_the_lines_and_not_the_name() {
    let program = compile(&folder("budget"), &[]);
    let mut options = SymbolizerOptions::default();
    (options.lines, options.debug_information) = (true, 100);
    let mut symbolizer = Symbolizer::new(options);
    let file = symbolizer.open(&program).unwrap();
    let frames = symbolizer.name_at(file, waits_of(&program)).unwrap();
    assert_eq!((&*frames[0].function, &frames[0].line), ("waits", &None));
}

fn symbols_that_were_left_compressed_in_a_stripped_program_are_found() {
    let folder = folder("mini");
    let program = compile(&folder, &[]);
    let start = waits_of(&program);
    let mini = folder.join("mini");
    let objcopy = || Command::new("objcopy");
    run(objcopy().args(["-S", "--keep-symbol=waits", "--only-keep-debug"]).args([&program, &mini]));
    run(Command::new("xz").arg(&mini));
    run(Command::new("strip").arg(&program));
    let section = format!(".gnu_debugdata={}", folder.join("mini.xz").display());
    let mut symbolizer = Symbolizer::new(SymbolizerOptions::default());
    let bare = symbolizer.open(&program).unwrap();
    assert_eq!(symbolizer.name_at(bare, start), Err(Unknown::Stripped));
    let with = folder.join("with");
    run(objcopy().args(["--add-section", &section]).args([&program, &with]));
    let with = symbolizer.open(&with).unwrap();
    assert_eq!(&*symbolizer.name_at(with, start).unwrap()[0].function, "waits");
}

fn functions_made_at_run_time_have_the_names_that_were_written_down() {
    let node = Path::new("/usr/bin/node");
    let script = "function hot(n) { let s = 0; for (let i = 0; i < n; i++) s += i % 7; return s }\
                  for (let i = 0; i < 1e4; i++) hot(1000); console.log('ready');\
                  setInterval(() => {}, 1000)";
    let mut command = Command::new(node);
    command.args(["--perf-basic-prof", "-e", script]).stdout(Stdio::piped());
    command.current_dir(folder("node")); // It leaves a log there.
    let mut running = Running(command.stdin(Stdio::null()).spawn().unwrap());
    let mut ready = String::new();
    let output = running.0.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut ready).unwrap();
    assert_eq!(ready, "ready\n");
    let process = Process::new(running.0.id()).unwrap();
    let path = format!("/tmp/perf-{}.map", running.0.id());
    let text = fs::read_to_string(&path).unwrap();
    let line = text.lines().rev().find(|line| line.contains("hot ")).unwrap();
    let address = u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap();
    let mut symbolizer = Symbolizer::new(SymbolizerOptions::default());
    let place = symbolizer.locate(&process, address + 1).unwrap();
    assert!(matches!(place, Place::Generated { .. }), "{place:?}");
    assert_eq!(symbolizer.name(place), Err(Unknown::NoFile), "the list was not read yet");
    symbolizer.read_perf_map(&process).unwrap();
    let names = names(&mut symbolizer, place);
    let _ = fs::remove_file(path);
    assert!(names[0].contains("hot"), "{names:?}");
}

fn functions_of_the_kernel_are_named_or_hidden() {
    let mut symbolizer = Symbolizer::new(SymbolizerOptions::default());
    let list = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let known = list.lines().find(|line| line.ends_with(" T schedule"));
    let address = known.and_then(|line| u64::from_str_radix(&line[..16], 16).ok()).unwrap_or(0);
    match symbolizer.name_in_kernel(address + 4) {
        Ok(frames) => assert_eq!(&*frames[0].function, "schedule"),
        Err(unknown) => assert!(address == 0, "{unknown}"),
    }
}

fn what_is_not_used_makes_room() {
    let mut options = SymbolizerOptions::default();
    (options.open_files, options.memory) = (2, 1);
    let mut symbolizer = Symbolizer::new(options);
    let [a, b, c] = ["a", "b", "c"].map(|name| {
        compile(&folder(&format!("room-{name}")), &[&format!("-DX={name}"), "-Wl,--build-id=uuid"])
    });
    let files = [&a, &b, &c].map(|path| symbolizer.open(path).unwrap());
    assert_eq!(symbolizer.name_at(files[0], waits_of(&a)), Err(Unknown::Forgotten));
    for (file, path) in [(files[1], &b), (files[2], &c), (files[1], &b)] {
        assert_eq!(&*symbolizer.name_at(file, waits_of(path)).unwrap()[0].function, "waits");
        let one = symbolizer.memory();
        assert!(one < 20_000, "{one}: what is not in use was given up");
    }
}
