//! Names, lines and unwind tables beside others that make them: blazesym and addr2line for names, gimli alone
//! for call frame information, which is the least that a table can take. On one core; of the same addresses,
//! in one run.
//!
//! Names are those of the Rust compiler's library; lines those of a C++ program that is built here.
//!
//! ```text
//! cargo bench --bench symbolizers
//! ```
#![allow(missing_docs, clippy::expect_used, reason = "a bench asserts by panicking")]

#[path = "support/addresses.rs"]
mod addresses;

use addresses::{random, rustc_driver};
use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{Input, Symbolizer as Blazesym};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use gimli::{BaseAddresses, CieOrFde, EhFrame, LittleEndian, UnwindContext, UnwindSection as _};
use pixie_profiler::unwind_table;
use pixie_symbols::{ElfFile, Symbolizer, SymbolizerOptions};
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How many addresses are named in one measured round.
const ADDRESSES: usize = 10_000;
/// The largest section of call frame information that is read.
const MAX_SECTION: u64 = 64 << 20;

fn bench(criterion: &mut Criterion) {
    let driver = rustc_driver();
    let file = ElfFile::open(&driver).expect("rustc has a driver");
    let symbols = file.symbols().expect("it has symbols");
    let known = random(&file, ADDRESSES, |address| symbols.at(address).is_some());
    drop(symbols);
    let mut group = criterion.benchmark_group("names");
    group.sample_size(10).throughput(Throughput::Elements(ADDRESSES as u64));
    names(&mut group, &driver, &known, false);
    group.finish();

    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = program_with_lines(folder.path());
    let file = ElfFile::open(&program).expect("it was built");
    let symbols = file.symbols().expect("it has symbols");
    let known = random(&file, ADDRESSES, |address| symbols.at(address).is_some());
    let mut group = criterion.benchmark_group("lines and inlined functions");
    group.sample_size(10).throughput(Throughput::Elements(ADDRESSES as u64));
    names(&mut group, &program, &known, true);
    group.finish();

    let mut group = criterion.benchmark_group("unwind tables");
    tables(&mut group, &driver);
    group.finish();
}

/// Names with nothing known before, and once more.
fn names(group: &mut BenchmarkGroup<'_, WallTime>, path: &Path, addresses: &[u64], lines: bool) {
    let ours = || {
        let mut options = SymbolizerOptions::default();
        options.lines = lines;
        let mut symbolizer = Symbolizer::new(options);
        let file = symbolizer.open(path).expect("it is there");
        (symbolizer, file)
    };
    group.bench_function("pixie, at first", |bencher| {
        bencher.iter(|| {
            let (mut symbolizer, file) = ours();
            for address in addresses {
                black_box(symbolizer.name_at(file, *address).expect("it is known"));
            }
        });
    });
    let (mut symbolizer, file) = ours();
    group.bench_function("pixie, again", |bencher| {
        bencher.iter(|| {
            for address in addresses {
                black_box(symbolizer.name_at(file, *address).expect("it is known"));
            }
        });
    });
    let theirs = || Blazesym::builder().enable_code_info(lines).enable_inlined_fns(lines).build();
    let mut source = Elf::new(path);
    source.debug_syms = lines;
    let source = Source::Elf(source);
    group.bench_function("blazesym, at first", |bencher| {
        bencher.iter(|| {
            let symbolizer = theirs();
            let input = Input::VirtOffset(addresses);
            black_box(symbolizer.symbolize(&source, input).expect("it is known").len())
        });
    });
    let symbolizer = theirs();
    group.bench_function("blazesym, again", |bencher| {
        bencher.iter(|| {
            let input = Input::VirtOffset(addresses);
            black_box(symbolizer.symbolize(&source, input).expect("it is known"))
        });
    });
    let all_frames = |loader: &addr2line::Loader| {
        for address in addresses {
            if lines {
                let mut frames = loader.find_frames(*address).expect("it is right");
                while let Ok(Some(frame)) = frames.next() {
                    let name = frame.function.as_ref().and_then(|name| name.demangle().ok());
                    black_box((name.map(std::borrow::Cow::into_owned), frame.location));
                }
            } else {
                let name = loader.find_symbol(*address).expect("it is known");
                black_box(addr2line::demangle_auto(name.into(), None).into_owned());
            }
        }
    };
    group.bench_function("addr2line, at first", |bencher| {
        bencher.iter(|| all_frames(&addr2line::Loader::new(path).expect("it is there")));
    });
    let loader = addr2line::Loader::new(path).expect("it is there");
    group.bench_function("addr2line, again", |bencher| bencher.iter(|| all_frames(&loader)));
}

/// A program with much that is inlined, as C++ has it.
fn program_with_lines(folder: &Path) -> PathBuf {
    let (source, program) = (folder.join("program.cpp"), folder.join("program"));
    let text = "\
#include <iostream>
#include <map>
#include <regex>
#include <sstream>
int main(int, char **arguments) {
    std::map<std::string, std::vector<int>> all;
    std::istringstream input{arguments[0]};
    for (std::string word; input >> word;)
        if (std::regex_match(word, std::regex{\"[a-z]+([0-9]*)(x|y)?\"})) all[word].push_back(1);
    std::wcout << std::regex_replace(std::wstring{L\"wide\"}, std::wregex{L\"w+\"}, L\"v\");
    std::cout << all.size();
}
";
    fs::write(&source, text).expect("a file");
    let mut compiler = Command::new("c++");
    compiler.args(["-g", "-O2", "-std=c++17", "-o"]).arg(&program).arg(&source);
    assert!(compiler.status().expect("there is a C++ compiler").success());
    program
}

fn tables(group: &mut BenchmarkGroup<'_, WallTime>, path: &Path) {
    let file = ElfFile::open(path).expect("it is there");
    let rows = unwind_table(&file).expect("it has one").rows.len();
    group.sample_size(10).throughput(Throughput::Elements(rows as u64));
    group.bench_function("pixie, rows", |bencher| {
        bencher.iter(|| black_box(unwind_table(&file).expect("it has one")));
    });
    group.bench_function("gimli alone, the same rows", |bencher| {
        bencher.iter(|| black_box(gimli_alone(&file)));
    });
}

/// Goes through all rows, and keeps none.
fn gimli_alone(file: &ElfFile) -> u64 {
    let section = file.section(".eh_frame").expect("it has one");
    let bytes = file.read(section, MAX_SECTION).expect("it is read");
    let mut frames = EhFrame::new(&bytes, LittleEndian);
    frames.set_address_size(8);
    let bases = BaseAddresses::default().set_eh_frame(section.address);
    let (mut context, mut count) = (UnwindContext::new(), 0);
    let mut entries = frames.entries(&bases);
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(partial) = entry else { continue };
        let Ok(function) = partial.parse(EhFrame::cie_from_offset) else { continue };
        let Ok(mut rows) = function.rows(&frames, &bases, &mut context) else { continue };
        while let Ok(Some(row)) = rows.next_row() {
            count += u64::from(black_box(row.start_address()) > 0);
        }
    }
    count
}

criterion_group!(benches, bench);
criterion_main!(benches);
