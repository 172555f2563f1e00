use crate::record::{Record, RecordKind};
use crate::sinks::{Filter, Only, Redact, Redaction, Sample, Tee};
use std::error::Error;

/// Why a sink could not take records, and how many.
#[derive(Debug, thiserror::Error)]
#[error("the sink failed: {cause}")]
pub struct SinkError {
    cause: Box<dyn Error + Send + Sync>,
    dropped: Option<u64>,
}

impl SinkError {
    /// An error with this cause (anything that is an error, or a plain string) that kept the sink
    /// from taking any record of the batch.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { cause: cause.into(), dropped: None }
    }

    /// An error with this cause that kept the sink from taking `dropped` records of the batch; it
    /// took the others.
    pub fn partial(dropped: u64, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { cause: cause.into(), dropped: Some(dropped) }
    }

    /// How many records of a batch of `offered` the sink did not take.
    #[must_use]
    pub fn dropped(&self, offered: usize) -> u64 {
        let offered = offered as u64;
        self.dropped.map_or(offered, |dropped| dropped.min(offered))
    }

    /// What was the matter, as an error of its own.
    #[must_use]
    pub fn into_cause(self) -> Box<dyn Error + Send + Sync> {
        self.cause
    }

    /// What was the matter.
    #[must_use]
    pub fn cause(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.cause
    }
}

impl From<Box<dyn Error + Send + Sync>> for SinkError {
    fn from(cause: Box<dyn Error + Send + Sync>) -> Self {
        Self::new(cause)
    }
}

impl From<std::io::Error> for SinkError {
    fn from(cause: std::io::Error) -> Self {
        Self::new(cause)
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
/// - A sink may fail. What an error kept it from taking is counted
///   ([`SinkError::dropped`]); the next batch is still offered. A sink that panics is retired: it
///   is not called again, and what it would have received is counted.
/// - [`flush`](Sink::flush) is called when the queue has run empty and when the session stops.
///
/// # Combinators
///
/// As with iterators, one sink is made of another: [`only`](Sink::only), [`filter`](Sink::filter),
/// [`sample`](Sink::sample), [`redact`](Sink::redact) and [`tee`](Sink::tee). The last one named
/// is the first to see a record.
///
/// ```
/// use pixie_core::{RecordKind, Sink, Interest, sinks};
///
/// let sink = sinks::each(|record| println!("{record}"))
///     .redact(sinks::Redaction::default())
///     .filter(|record| record.is_error())
///     .only(Interest::none().with(RecordKind::Http));
/// # drop(sink);
/// ```
pub trait Sink: Send {
    /// Takes a batch of records.
    ///
    /// # Errors
    /// Whatever stops the sink from taking them. All of the batch then counts as dropped, unless
    /// the error says [`partial`](SinkError::partial).
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

    /// This sink, given no other kinds of record than these.
    fn only(self, interest: Interest) -> Only<Self>
    where
        Self: Sized,
    {
        Only::new(self, interest)
    }

    /// This sink, given only the records for which `predicate` is true.
    ///
    /// Losses are records too: a predicate that refuses [`Record::Lost`] leaves the sink unaware
    /// that there were any.
    fn filter<P>(self, predicate: P) -> Filter<Self, P>
    where
        Self: Sized,
        P: FnMut(&Record) -> bool + Send,
    {
        Filter::new(self, predicate)
    }

    /// This sink, given the traffic of one connection in `one_in`, by a hash of the connection's
    /// id; 0 is taken for 1.
    ///
    /// All exchanges of a connection are kept or none is, by every sink that samples at the same
    /// rate. Records that are not traffic always pass.
    fn sample(self, one_in: u32) -> Sample<Self>
    where
        Self: Sized,
    {
        Sample::new(self, one_in)
    }

    /// This sink, given copies of the records from which secrets are removed.
    fn redact(self, redaction: Redaction) -> Redact<Self>
    where
        Self: Sized,
    {
        Redact::new(self, redaction)
    }

    /// This sink and another, each given every record that it is interested in.
    fn tee<S>(self, other: S) -> Tee<Self, S>
    where
        Self: Sized,
        S: Sink,
    {
        Tee::new(self, other)
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

    /// What both sets have.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
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
