//! Names by address, on one core: random addresses of the Rust compiler's library, which has half a
//! million functions, and of a Go program, where there is one.
//!
//! ```text
//! cargo bench --bench symbols
//! ```
#![allow(missing_docs, clippy::expect_used, reason = "a bench asserts by panicking")]

#[path = "support/addresses.rs"]
mod addresses;

use addresses::{random, rustc_driver};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pixie_symbols::{ElfFile, Symbolizer, SymbolizerOptions};
use std::hint::black_box;
use std::path::{Path, PathBuf};

/// How many addresses are named in one measured round.
const ADDRESSES: usize = 10_000;

fn bench(criterion: &mut Criterion) {
    let path = rustc_driver();
    let file = ElfFile::open(&path).expect("rustc has a driver");
    let symbols = file.symbols().expect("it has symbols");
    let addresses = random(&file, ADDRESSES, |address| symbols.at(address).is_some());

    let mut group = criterion.benchmark_group("symbols");
    group.sample_size(10);
    group.throughput(Throughput::Elements(symbols.len() as u64));
    group.bench_function("read an index", |bencher| {
        bencher.iter(|| ElfFile::open(&path).expect("it is there").symbols());
    });
    group.sample_size(50);
    group.throughput(Throughput::Elements(ADDRESSES as u64));
    group.bench_function("name, at first", |bencher| {
        bencher.iter(|| {
            for address in &addresses {
                let symbol = symbols.at(*address).expect("it is known");
                black_box(symbol.demangled());
            }
        });
    });
    let mut symbolizer = Symbolizer::new(SymbolizerOptions::default());
    let id = symbolizer.open(&path).expect("it is there");
    group.bench_function("name, again", |bencher| {
        bencher.iter(|| {
            for address in &addresses {
                black_box(symbolizer.name_at(id, *address).expect("it is known"));
            }
        });
    });
    go(&mut group);
    group.finish();
}

fn go(group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>) {
    // Go's own command is a Go program.
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let kept = home.join(".cache/pixie/go-1.27/go/bin/go");
    let found =
        [kept.as_path(), Path::new("/usr/lib/go/bin/go")].into_iter().find(|go| go.exists());
    let Some(path) = found else { return };
    let file = ElfFile::open(path).expect("it is there");
    let program = file.go().expect("it is right").expect("it is a Go program");
    let addresses = random(&file, ADDRESSES, |address| program.at(address).is_some());
    group.bench_function("Go: name", |bencher| {
        bencher.iter(|| {
            for address in &addresses {
                black_box(program.at(*address));
            }
        });
    });
    group.bench_function("Go: name, lines and inlined calls", |bencher| {
        bencher.iter(|| {
            for address in &addresses {
                black_box(program.frames(*address));
            }
        });
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
