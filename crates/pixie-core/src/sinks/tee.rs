use crate::{Interest, Record, Sink, SinkError};

/// Gives every record to two sinks; see [`Sink::tee`].
///
/// To whoever runs it, this is one sink: one queue, one account, and a panic in either retires
/// both. An error in the first does not keep records from the second. Where each should have its
/// own queue and account, give them to the tracer one by one instead.
#[derive(Clone, Debug)]
pub struct Tee<A, B> {
    first: A,
    second: B,
}

impl<A: Sink, B: Sink> Tee<A, B> {
    pub(crate) fn new(first: A, second: B) -> Self {
        Self { first, second }
    }
}

impl<A: Sink, B: Sink> Sink for Tee<A, B> {
    /// # Errors
    /// What stopped either; of two errors, the one that dropped more records.
    fn emit(&mut self, records: &[Record]) -> Result<(), SinkError> {
        let dropped = |error: &SinkError| error.dropped(records.len());
        match (self.first.emit(records), self.second.emit(records)) {
            (Err(first), Err(second)) if dropped(&second) > dropped(&first) => Err(second),
            (first, second) => first.and(second),
        }
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        let first = self.first.flush();
        first.and(self.second.flush())
    }

    fn interest(&self) -> Interest {
        self.first.interest().union(self.second.interest())
    }
}

#[cfg(test)]
mod tests {
    use crate::sinks::testing::http;
    use crate::sinks::{Channel, Memory, Null};
    use crate::{Interest, RecordKind, Sink};

    #[test]
    fn both_get_everything_and_a_failure_of_one_does_not_harm_the_other() {
        let (small, _receiver) = Channel::bounded(1);
        let (memory, records) = Memory::new(8);
        let mut sink = small.tee(memory);
        let error = sink.emit(&[http(1), http(2), http(3)]).unwrap_err();
        assert_eq!(error.dropped(3), 2);
        assert_eq!(records.len(), 3);
    }

    #[test]
    fn interests_are_united() {
        let http = Null.only(Interest::none().with(RecordKind::Http));
        let lost = Null.only(Interest::none().with(RecordKind::Lost));
        let interest = http.tee(lost).interest();
        assert!(interest.wants(RecordKind::Http) && interest.wants(RecordKind::Lost));
        assert!(!interest.wants(RecordKind::Stack));
    }
}
