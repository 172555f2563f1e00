//! What sinks are given, and what becomes of the account when they fail.

use crate::wire::Wire;
use pixie::record::{Cause, Stage};
use pixie::{Error, Interest, Record, RecordKind, Replay, Sink, SinkError, sinks};

fn wire(exchanges: usize) -> Wire {
    let mut wire = Wire::new();
    wire.dropped = 1;
    wire.open(1, 10);
    for _ in 0..exchanges {
        wire.exchange(1, "/");
    }
    wire
}

/// Takes only the kinds that it says it wants.
struct Picky<S>(S, Interest);

impl<S: Sink> Sink for Picky<S> {
    fn emit(&mut self, records: &[Record]) -> Result<(), SinkError> {
        assert!(records.iter().all(|record| self.1.wants(record.kind())));
        self.0.emit(records)
    }

    fn interest(&self) -> Interest {
        self.1
    }
}

#[test]
fn each_sink_gets_what_it_wants() {
    let (memory, losses) = sinks::Memory::new(100);
    let only_losses = Picky(memory, Interest::none().with(RecordKind::Lost));
    let (memory, exchanges) = sinks::Memory::new(10_000);
    let only_http = Picky(memory, Interest::none().with(RecordKind::Http));
    let stats = Replay::new().sink(only_losses).sink(only_http).run(&mut wire(1_000)).unwrap();
    assert_eq!((losses.len(), exchanges.len()), (1, 1_000));
    assert_eq!((stats.sinks[0].emitted, stats.sinks[1].emitted), (1, 1_000));
}

#[test]
fn what_no_sink_wants_is_not_parsed() {
    let (memory, records) = sinks::Memory::new(100);
    let sink = Picky(memory, Interest::none().with(RecordKind::Lost));
    let stats = Replay::new().sink(sink).run(&mut wire(10)).unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!((stats.parser.detected, stats.parser.records), (0, 0));
}

#[test]
fn a_sink_that_fails_now_and_then_loses_only_those_batches() {
    let mut calls = 0;
    let failing = sinks::try_each(move |_: &Record| {
        calls += 1;
        if calls == 500 { Err("the disk is full") } else { Ok(()) }
    });
    let (memory, all) = sinks::Memory::new(10_000);
    let stats = Replay::new().sink(failing).sink(memory).run(&mut wire(1_000)).unwrap();
    let [failing, other] = &stats.sinks[..] else { panic!("two sinks") };
    assert!(failing.dropped_failed > 0 && failing.dropped_failed <= 256, "{failing:?}");
    assert_eq!(failing.emitted + failing.dropped_failed, 1_001);
    assert!(failing.last_error.as_ref().unwrap().contains("the disk is full"));
    assert_eq!((other.emitted, all.len()), (1_001, 1_001));
    let lost = stats.lost.iter().find(|lost| lost.stage == Stage::Sink).unwrap();
    assert_eq!((lost.cause, lost.count), (Cause::SinkFailed, failing.dropped_failed));
}

#[test]
fn there_must_be_a_sink() {
    assert!(matches!(Replay::new().start(), Err(Error::NoSink)));
}
