//! Names of real addresses: of this process, of one that has ended, and of the kernel.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test asserts by panicking, in its helpers too"
)]

use pixie_core::id::Pid;
use pixie_core::record::{Frame, Process, Stack, StackState};
use pixie_profiler::{Namer, ProcessImage, Sample, StackEnd, Truncation};
use pixie_symbols::{ElfFile, KernelSymbols, SymbolizerOptions, Unknown};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

fn ours() -> ProcessImage {
    ProcessImage::new(pixie_symbols::Process::new(std::process::id()).unwrap())
}

fn sample(user: &[u64]) -> Sample {
    let mut sample = Sample::new(Pid(std::process::id()), 2);
    sample.user = user.to_vec();
    sample.image = 1;
    sample
}

fn namer() -> Namer {
    Namer::new(SymbolizerOptions::default())
}

fn names(frames: &[Frame]) -> Vec<String> {
    let name = |frame: &Frame| frame.function.as_ref().map_or("?".to_owned(), ToString::to_string);
    frames.iter().map(name).collect()
}

#[inline(never)]
extern "C" fn a_function_of_this_test(number: u64) -> u64 {
    std::hint::black_box(number) + 1
}

/// Where the program is in memory, less where its file says that it is.
fn bias(file: &ElfFile) -> u64 {
    let symbols = file.symbols().unwrap();
    let there = symbols.iter().find(|it| it.demangled().ends_with("::a_function_of_this_test"));
    a_function_of_this_test as *const () as u64 - there.unwrap().address
}

#[test]
fn what_was_got_ready_is_named_as_if_it_had_not_been() {
    let mut with_kernel = sample(&[a_function_of_this_test as *const () as u64, 1]);
    with_kernel.kernel = vec![1];
    let image = ours();
    let (mut ready, mut other) = (namer(), namer());
    ready.get_ready(&with_kernel, Some(&image));
    assert_eq!(ready.counters(), other.counters(), "it counts nothing");
    let frames = ready.frames(&with_kernel, Some(&image));
    assert_eq!(frames, other.frames(&with_kernel, Some(&image)));
    assert_eq!(ready.counters(), other.counters());
    assert_eq!(frames.iter().filter(|frame| frame.unknown.is_some()).count(), 2);
}

#[test]
fn a_function_of_a_running_process_has_its_name_and_its_file() {
    let address = a_function_of_this_test as *const () as u64;
    let (image, mut namer) = (ours(), namer());
    let frames = namer.frames(&sample(&[address]), Some(&image));
    assert_eq!(names(&frames), ["naming::a_function_of_this_test"]);
    let frame = &frames[0];
    let exe = std::env::current_exe().unwrap();
    assert_eq!(frame.binary.as_ref().unwrap().to_str(), exe.to_str().unwrap());
    let file = ElfFile::open(&exe).unwrap();
    let build_id = file.build_id().map(ToString::to_string);
    assert_eq!(frame.build_id.as_ref().map(ToString::to_string), build_id);
    assert_eq!(frame.address, address);
    assert_eq!(frame.file_address, Some(address - bias(&file)));
    assert_eq!((frame.kernel, frame.inlined, &frame.unknown), (false, false, &None));
    // Again, from what is kept ready.
    assert_eq!(namer.frames(&sample(&[address]), Some(&image)), frames);
    assert_eq!((namer.counters().named, namer.counters().unnamed.len()), (2, 0));
}

#[test]
fn the_function_that_called_is_named_and_not_the_one_after_it() {
    let image = ours();
    let file = ElfFile::open(std::env::current_exe().unwrap()).unwrap();
    let bias = bias(&file);
    let symbols = file.symbols().unwrap();
    let mut neighbours = symbols.iter().filter_map(|one| {
        let next = symbols.starting_at(one.address + one.size).next()?;
        let alone = symbols.at(next.address)?.address == next.address
            && symbols.at(next.address - 1)?.address == one.address;
        let differ = one.demangled() != next.demangled();
        (one.size > 1 && next.size > 1 && alone && differ).then_some((one, next))
    });
    let (one, next) = neighbours.next().unwrap();
    let at = next.address + bias;
    let name = |address: u64| symbols.at(address).unwrap().demangled().into_owned();
    let (caller, after) = (name(one.address), name(next.address));

    let mut sample = sample(&[at, at, at]);
    sample.interrupted = vec![2];
    let frames = namer().frames(&sample, Some(&image));
    assert_eq!(names(&frames), [after.clone(), caller, after]);
    assert!(frames.iter().all(|frame| frame.address == at), "what is told is the address itself");
    assert!(frames.iter().all(|frame| frame.file_address == Some(next.address)));
}

#[test]
fn lines_and_inlined_functions_are_told_where_they_are_asked_for() {
    let mut options = SymbolizerOptions::default();
    options.lines = true;
    let address = a_function_of_this_test as *const () as u64;
    let frames = Namer::new(options).frames(&sample(&[address]), Some(&ours()));
    let last = frames.last().unwrap();
    assert_eq!(last.function.as_ref().unwrap().to_str(), "naming::a_function_of_this_test");
    assert!(last.file.as_ref().unwrap().to_str().ends_with("tests/naming.rs"));
    let source = include_str!("naming.rs");
    let line = source.lines().position(|line| line.starts_with("extern \"C\" fn a_f")).unwrap() + 1;
    assert_eq!(last.line, u32::try_from(line).ok());
}

#[test]
fn a_process_that_has_ended_still_has_names() {
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    let process = loop {
        let process = pixie_symbols::Process::new(child.id()).unwrap();
        if process.mappings().iter().any(|mapping| mapping.path.ends_with("libc.so.6")) {
            break process;
        }
    };
    let mut image = ProcessImage::new(process);
    let open = |path: &Path| ElfFile::open(path).ok();
    image.files = image.process.mappings().iter().map(|it| open(&it.path)).collect();
    let of = |name: &str| {
        let mut mappings = image.process.mappings().iter();
        mappings.find(|mapping| mapping.path.to_string_lossy().contains(name)).unwrap().clone()
    };
    let (libc, vdso) = (of("libc.so.6"), of("[vdso]"));
    let file = ElfFile::open(&libc.path).unwrap();
    let malloc = file.symbols().unwrap().named("malloc").next().unwrap().address;
    let malloc = file.file_offset(malloc).unwrap() - libc.offset + libc.start;
    child.kill().unwrap();
    child.wait().unwrap();

    let mut namer = namer();
    let frames = namer.frames(&sample(&[malloc, vdso.start + 1]), Some(&image));
    let unknown = frames[1].unknown.as_ref().map(ToString::to_string);
    assert_eq!(names(&frames[..1]), ["malloc"]);
    // What the kernel maps is in no file, and known from our own process.
    assert_eq!(unknown, Some(Unknown::NoSymbol.to_string()));
    assert_eq!(frames[1].binary.as_ref().unwrap().to_str(), "[vdso]");
}

#[test]
fn functions_of_the_kernel_are_told_by_their_names() {
    let kernel = KernelSymbols::read().unwrap();
    let Some(function) = kernel.named("vfs_read").next() else {
        println!("skipped: the kernel hides its symbols; run it as root");
        return;
    };
    let mut sample = sample(&[]);
    // The call before the start of a function is in another one.
    sample.kernel = vec![function.address, function.address];
    let frames = namer().frames(&sample, None);
    assert_eq!(frames[0].function.as_ref().unwrap().to_str(), "vfs_read");
    assert_eq!(frames[0].binary.as_ref().unwrap().to_str(), "[kernel]");
    assert!(frames.iter().all(|frame| frame.kernel && frame.build_id.is_none()));
    assert_ne!(frames[1].function, frames[0].function);
}

#[test]
fn what_has_no_name_says_why_and_is_counted() {
    let mut namer = namer();
    let nowhere = namer.frames(&sample(&[0x10]), Some(&ours()));
    let without_process = namer.frames(&sample(&[0x10, 0x20]), None);
    assert_eq!(nowhere[0].unknown.as_ref().unwrap().to_str(), "nothing is mapped there");
    assert_eq!(without_process[1].unknown.as_ref().unwrap().to_str(), "the process was not known");
    let expected = [(Unknown::NotMapped, 1), (Unknown::NoProcess, 2)];
    assert_eq!((namer.counters().named, &*namer.counters().unnamed), (0, &expected[..]));
}

#[test]
fn a_record_has_what_the_sample_had() {
    let process = Arc::new(Process::new(Pid(7), "app".into()));
    let record = |sample: &Sample| -> Stack {
        namer().stack(sample, None, Arc::clone(&process), Duration::from_millis(10))
    };
    let mut sample = Sample::new(Pid(7), 3);
    let stack = record(&sample);
    assert_eq!((stack.state, stack.total), (StackState::OnCpu, Duration::from_millis(30)));
    assert_eq!((stack.count, stack.thread, stack.cut), (3, None, None));
    (sample.tid, sample.blocked_ns) = (8, 5000);
    sample.end = StackEnd::Truncated(Truncation::Depth);
    let stack = record(&sample);
    assert_eq!((stack.state, stack.total), (StackState::OffCpu, Duration::from_micros(5)));
    assert_eq!((stack.thread, stack.cut), (Some(8), Some("depth".into())));
}
