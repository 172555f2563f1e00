use crate::{Interest, Record, Sink, SinkError};
use std::fmt;

/// Passes on the kinds of record that are named; see [`Sink::only`].
#[derive(Clone, Debug)]
pub struct Only<S> {
    inner: S,
    interest: Interest,
}

/// Passes on the records that a predicate accepts; see [`Sink::filter`].
#[derive(Clone)]
pub struct Filter<S, P> {
    inner: S,
    predicate: P,
}

/// Passes on the traffic of some connections; see [`Sink::sample`].
#[derive(Clone, Debug)]
pub struct Sample<S> {
    inner: S,
    one_in: u32,
}

impl<S: Sink> Only<S> {
    pub(crate) fn new(inner: S, interest: Interest) -> Self {
        Self { inner, interest }
    }
}

impl<S: Sink, P: FnMut(&Record) -> bool + Send> Filter<S, P> {
    pub(crate) fn new(inner: S, predicate: P) -> Self {
        Self { inner, predicate }
    }
}

impl<S: Sink> Sample<S> {
    pub(crate) fn new(inner: S, one_in: u32) -> Self {
        Self { inner, one_in: one_in.max(1) }
    }
}

impl<S: Sink> Sink for Only<S> {
    fn emit(&mut self, records: &[Record]) -> Result<(), SinkError> {
        let interest = self.interest;
        emit_if(&mut self.inner, records, |record| interest.wants(record.kind()))
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.inner.flush()
    }

    fn interest(&self) -> Interest {
        self.inner.interest().intersection(self.interest)
    }
}

impl<S: Sink, P: FnMut(&Record) -> bool + Send> Sink for Filter<S, P> {
    fn emit(&mut self, records: &[Record]) -> Result<(), SinkError> {
        emit_if(&mut self.inner, records, &mut self.predicate)
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.inner.flush()
    }

    fn interest(&self) -> Interest {
        self.inner.interest()
    }
}

impl<S: Sink> Sink for Sample<S> {
    fn emit(&mut self, records: &[Record]) -> Result<(), SinkError> {
        let one_in = u64::from(self.one_in);
        emit_if(&mut self.inner, records, |record| {
            record
                .traffic()
                .is_none_or(|traffic| hash(traffic.connection.id.0).is_multiple_of(one_in))
        })
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.inner.flush()
    }

    fn interest(&self) -> Interest {
        self.inner.interest()
    }
}

impl<S: fmt::Debug, P> fmt::Debug for Filter<S, P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Filter").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// Emits the records for which `keep` is true, in order. Each run of them that stand together is
/// one batch, so that none needs to be copied.
fn emit_if(
    sink: &mut impl Sink,
    records: &[Record],
    mut keep: impl FnMut(&Record) -> bool,
) -> Result<(), SinkError> {
    let mut failure: Option<(u64, SinkError)> = None;
    let mut emit = |run: &[Record]| {
        if let Err(error) = sink.emit(run) {
            let before = failure.as_ref().map_or(0, |(dropped, _)| *dropped);
            failure = Some((before + error.dropped(run.len()), error));
        }
    };
    let mut rest = records;
    while let Some(start) = rest.iter().position(&mut keep) {
        let (_, candidates) = rest.split_at(start);
        // The first is known to be kept; whoever ends the run is known not to be.
        let (first, others) = candidates.split_at(1);
        let length = others.iter().position(|record| !keep(record)).unwrap_or(others.len());
        emit(candidates.get(..first.len() + length).unwrap_or_default());
        rest = others.get(length + 1..).unwrap_or_default();
    }
    match failure {
        None => Ok(()),
        Some((dropped, error)) => Err(SinkError::partial(dropped, error.into_cause())),
    }
}

/// Spreads ids evenly, also ones that are multiples of a power of two (the finalizer of
/// `splitmix64`).
fn hash(id: u64) -> u64 {
    let id = (id ^ id >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let id = (id ^ id >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    id ^ id >> 31
}

#[cfg(test)]
mod tests {
    use crate::sinks::testing::{custom, http, lost};
    use crate::sinks::{Channel, Memory};
    use crate::{Interest, Record, RecordKind, Sink};

    #[test]
    fn a_filter_keeps_what_its_predicate_accepts_and_asks_once_a_record() {
        let (memory, records) = Memory::new(16);
        let mut asked = 0;
        let mut sink = memory.filter(|record| {
            asked += 1;
            matches!(record, Record::Http(_))
        });
        sink.emit(&[lost(1), http(1), http(2), lost(2), custom(), http(3)]).unwrap();
        sink.emit(&[http(4), lost(3)]).unwrap();
        drop(sink);
        assert_eq!(records.take(), [http(1), http(2), http(3), http(4)]);
        assert_eq!(asked, 8);
    }

    #[test]
    fn failures_of_all_runs_of_a_batch_are_added_up() {
        let (channel, _receiver) = Channel::bounded(1);
        let mut sink = channel.filter(|record| matches!(record, Record::Http(_)));
        let batch = [http(1), http(2), lost(1), http(3), lost(2)];
        assert_eq!(sink.emit(&batch).unwrap_err().dropped(batch.len()), 2);
    }

    #[test]
    fn only_restricts_both_records_and_interest() {
        let (memory, records) = Memory::new(16);
        let mut sink = memory.only(Interest::none().with(RecordKind::Lost));
        sink.emit(&[http(1), lost(1)]).unwrap();
        assert_eq!(records.take(), [lost(1)]);
        assert!(sink.interest().wants(RecordKind::Lost));
        assert!(!sink.interest().wants(RecordKind::Http));
    }

    #[test]
    fn a_sample_keeps_whole_connections_at_its_rate_and_all_losses() {
        let (memory, records) = Memory::new(100_000);
        let mut sink = memory.sample(10);
        // Ids as the kernel gives them: addresses, all multiples of 64.
        let batch: Vec<Record> =
            (0..10_000).flat_map(|id| [http(id * 64), http(id * 64)]).chain([lost(1)]).collect();
        sink.emit(&batch).unwrap();
        let kept = records.take();
        let (traffic, losses) = kept.split_at(kept.len() - 1);
        assert_eq!(losses, [lost(1)]);
        assert!((1_800..2_200).contains(&traffic.len()), "kept {} of 20000", traffic.len());
        assert!(traffic.chunks(2).all(|pair| pair[0] == pair[1]), "a connection was split");
    }

    #[test]
    fn a_sample_of_one_in_one_or_none_keeps_everything() {
        for one_in in [0, 1] {
            let (memory, records) = Memory::new(16);
            memory.sample(one_in).emit(&[http(1), http(2)]).unwrap();
            assert_eq!(records.len(), 2);
        }
    }
}
