use crate::{Record, Sink, SinkError};
use std::error::Error;
use std::fmt;

/// A sink that calls `function` with each record.
///
/// ```
/// use pixie_core::{sinks, Sink};
///
/// let mut errors = 0;
/// let mut sink = sinks::each(move |record| errors += u64::from(record.is_error()));
/// sink.emit(&[])?;
/// # Ok::<(), pixie_core::SinkError>(())
/// ```
pub fn each<F>(function: F) -> Each<F>
where
    F: FnMut(&Record) + Send,
{
    Each { function }
}

/// A sink that calls `function` with each record, until it returns an error: the rest of the batch
/// then counts as dropped, as does the record for which it failed.
///
/// ```
/// use pixie_core::{sinks, Record, Sink};
/// use std::io::Write;
///
/// let mut file = std::io::sink();
/// let mut sink = sinks::try_each(move |record: &Record| writeln!(file, "{record}"));
/// sink.emit(&[])?;
/// # Ok::<(), pixie_core::SinkError>(())
/// ```
pub fn try_each<F, E>(function: F) -> TryEach<F>
where
    F: FnMut(&Record) -> Result<(), E> + Send,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    TryEach { function }
}

/// The sink that [`each`] makes.
pub struct Each<F> {
    function: F,
}

/// The sink that [`try_each`] makes.
pub struct TryEach<F> {
    function: F,
}

impl<F: FnMut(&Record) + Send> Sink for Each<F> {
    fn emit(&mut self, records: &[Record]) -> Result<(), SinkError> {
        records.iter().for_each(&mut self.function);
        Ok(())
    }
}

impl<F, E> Sink for TryEach<F>
where
    F: FnMut(&Record) -> Result<(), E> + Send,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    fn emit(&mut self, records: &[Record]) -> Result<(), SinkError> {
        for (taken, record) in records.iter().enumerate() {
            let left = (records.len() - taken) as u64;
            (self.function)(record).map_err(|cause| SinkError::partial(left, cause))?;
        }
        Ok(())
    }
}

impl<F> fmt::Debug for Each<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Each").finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for TryEach<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TryEach").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{each, try_each};
    use crate::sinks::testing::{http, lost};
    use crate::{Record, Sink};

    #[test]
    fn each_is_called_once_a_record_in_order() {
        let mut seen = Vec::new();
        each(|record| seen.push(record.kind().name())).emit(&[http(1), lost(1), http(2)]).unwrap();
        assert_eq!(seen, ["http", "lost", "http"]);
    }

    #[test]
    fn a_failure_drops_the_record_and_those_after_it() {
        let mut sink = try_each(|record: &Record| match record {
            Record::Lost(_) => Err("no losses here"),
            _ => Ok(()),
        });
        let batch = [http(1), lost(1), http(2)];
        let error = sink.emit(&batch).unwrap_err();
        assert_eq!(error.dropped(batch.len()), 2);
        assert_eq!(error.to_string(), "the sink failed: no losses here");
    }
}
