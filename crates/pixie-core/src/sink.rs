use crate::record::{Record, RecordKind};
use std::error::Error;

/// Why a sink could not take records.
#[derive(Debug, thiserror::Error)]
#[error("the sink failed: {0}")]
pub struct SinkError(#[from] Box<dyn Error + Send + Sync>);

impl SinkError {
    /// An error with this cause; anything that is an error, or a plain string.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}

/// Where records go.
///
/// # Contract
///
/// - One thread owns the sink: it is moved there once, and called from there alone, so that it
///   needs no lock.
/// - [`emit`](Sink::emit) is given records in the order in which they were completed, in batches
///   of at least one.
/// - A sink may be slow. Each one has a bounded queue of its own before it; when that is full the
///   records are dropped and counted in [`SinkStats`](crate::SinkStats) and, once there is room,
///   reported in-band as [`Record::Lost`]. Other sinks are not affected.
/// - A sink may fail. An error drops that batch, counted; the next one is still offered. A sink
///   that panics is retired: it is not called again, and what it would have received is counted.
/// - [`flush`](Sink::flush) is called when the queue has run empty and when the session stops.
pub trait Sink: Send {
    /// Takes a batch of records.
    ///
    /// # Errors
    /// Whatever stops the sink from taking them. All of the batch then counts as dropped.
    fn emit(&mut self, records: &[Record]) -> Result<(), SinkError>;

    /// Passes on whatever the sink has buffered.
    ///
    /// # Errors
    /// Whatever stops the sink from doing so.
    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Which kinds of record the sink wants. Nothing is captured, loaded or parsed for a kind that
    /// no sink wants. Asked once, before the session starts.
    fn interest(&self) -> Interest {
        Interest::all()
    }
}

impl<S: Sink + ?Sized> Sink for Box<S> {
    fn emit(&mut self, records: &[Record]) -> Result<(), SinkError> {
        (**self).emit(records)
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        (**self).flush()
    }

    fn interest(&self) -> Interest {
        (**self).interest()
    }
}

/// A set of record kinds.
///
/// ```
/// use pixie_core::{Interest, RecordKind};
///
/// let interest = Interest::none().with(RecordKind::Http);
/// assert!(interest.wants(RecordKind::Http));
/// assert!(!interest.wants(RecordKind::Lost));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest(u64);

impl Interest {
    /// Every kind, also those that later versions add.
    #[must_use]
    pub fn all() -> Self {
        Self(u64::MAX)
    }

    /// No kind at all.
    #[must_use]
    pub fn none() -> Self {
        Self(0)
    }

    /// This set and `kind`.
    #[must_use]
    pub fn with(self, kind: RecordKind) -> Self {
        Self(self.0 | 1 << kind as u64)
    }

    /// What either set has.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True when `kind` is in the set.
    #[must_use]
    pub fn wants(self, kind: RecordKind) -> bool {
        self.0 & 1 << kind as u64 != 0
    }
}
