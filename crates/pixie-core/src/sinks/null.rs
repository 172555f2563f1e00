use crate::{Record, Sink, SinkError};

/// Takes records and does nothing with them: for benchmarks, and where only
/// [`Stats`](crate::Stats) are wanted. It is interested in every kind, so that all of the work is
/// done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Null;

impl Sink for Null {
    fn emit(&mut self, _records: &[Record]) -> Result<(), SinkError> {
        Ok(())
    }
}
