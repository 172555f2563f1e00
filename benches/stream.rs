//! Reassembly: transfers in order, with holes, and out of order.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pixie_core::record::Cause;
use pixie_core::time::MonotonicTime;
use pixie_protocols::stream::{Arrival, Piece, Stream, StreamLimits};
use std::hint::black_box;

const SEGMENT: usize = 1 << 10;
const SEGMENTS: u32 = 1024;

/// Pushes transfers in this order of their numbers, of which the first `captured` bytes are there.
fn push_all(order: &[u32], segment: &[u8], captured: usize) -> u64 {
    let mut stream = Stream::new(StreamLimits::default());
    stream.start_at(0);
    let mut deliver = |piece: Piece<'_>| {
        black_box(piece);
    };
    for &number in order {
        let arrival = Arrival {
            position: number * SEGMENT as u32,
            time: MonotonicTime(1),
            length: SEGMENT as u32,
            captured: &black_box(segment)[..captured],
            hole: Cause::CaptureLimit,
        };
        stream.push(arrival, &mut deliver);
    }
    stream.stats().bytes_total
}

fn reassembly(criterion: &mut Criterion) {
    let segment = vec![b'x'; SEGMENT];
    let in_order: Vec<u32> = (0..SEGMENTS).collect();
    // Every second one comes before the one that precedes it.
    let swapped: Vec<u32> = (0..SEGMENTS).map(|number| number ^ 1).collect();
    // The first of every 32 comes last.
    let late: Vec<u32> = (0..SEGMENTS).map(|number| number & !31 | (number + 1) & 31).collect();

    let mut group = criterion.benchmark_group("stream");
    group.throughput(Throughput::Elements(u64::from(SEGMENTS)));
    for (name, order, captured) in [
        ("in order", &in_order, SEGMENT),
        ("in order, with holes", &in_order, 64),
        ("swapped in pairs", &swapped, SEGMENT),
        ("first of 32 comes last", &late, SEGMENT),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let total = push_all(black_box(order), &segment, captured);
                assert_eq!(total, u64::from(SEGMENTS) * SEGMENT as u64);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, reassembly);
criterion_main!(benches);
