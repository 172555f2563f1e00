use crate::builder::Builder;
use crate::pipeline::{BATCH, Pipeline};
use crate::{Error, Stats};
use pixie_core::record::{Cause, Stage};
use pixie_core::time::{Clock, MonotonicTime, WallTime};
use pixie_core::{Interest, Record, Sink, SinkStats};
use pixie_probes::event::{Counters, Event, EventSource};
use pixie_protocols::stream::StreamLimits;
use std::fmt;

/// The pipeline of a [`Tracer`](crate::Tracer) over events that are there already: recorded ones, a
/// packet capture, or made-up ones. It needs no privileges.
///
/// Everything happens in the caller's thread: the same events give the same records in the same
/// order, and the sinks are called inline. The times of the events are taken to be nanoseconds
/// since the Unix epoch.
///
/// ```
/// use pixie::Replay;
/// use pixie::event::{Data, Event};
/// use pixie::id::{ConnectionId, Direction};
/// use pixie::time::MonotonicTime;
///
/// let (sink, records) = pixie::sinks::Memory::new(10);
/// let mut player = Replay::new().sink(sink).start()?;
/// for (time, direction, bytes) in [
///     (1_000, Direction::Sent, &b"GET /hello HTTP/1.1\r\nHost: a.test\r\n\r\n"[..]),
///     (3_000, Direction::Received, b"HTTP/1.1 204 No Content\r\n\r\n"),
/// ] {
///     let time = MonotonicTime(time);
///     player.event(Event::Data(Data::new(ConnectionId(1), time, direction, 0, bytes)));
/// }
/// let stats = player.finish();
/// assert_eq!(stats.parser.records, 1);
/// assert_eq!(records.take().len(), 1);
/// # Ok::<(), pixie::Error>(())
/// ```
pub type Replay = Builder<Recorded>;

/// The source of a [`Replay`]: events that are there already.
#[derive(Debug, Default)]
pub struct Recorded(());

impl Replay {
    /// A replay into nowhere.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bounds on what is held back of each direction of a connection while bytes before it are
    /// missing. The default is meant for live events, which are at most milliseconds late.
    pub fn stream_limits(mut self, limits: StreamLimits) -> Self {
        self.options.stream = limits;
        self
    }

    /// A player that is handed events one by one.
    ///
    /// # Errors
    /// [`Error::NoSink`], and errors about the names of protocols.
    pub fn start(self) -> Result<Player, Error> {
        if self.sinks.is_empty() {
            return Err(Error::NoSink);
        }
        let mut pipeline = Pipeline::new(&self.options, self.interest(), false)?;
        pipeline.set_clock(Clock::new(MonotonicTime(0), WallTime(0)));
        let sinks = self.sinks.into_iter().map(Outlet::new).collect();
        Ok(Player { pipeline, sinks, counters: Counters::default() })
    }

    /// Plays all events of `source` and closes the account.
    ///
    /// # Errors
    /// As [`Replay::start`].
    pub fn run(self, source: &mut dyn EventSource) -> Result<Stats, Error> {
        let mut player = self.start()?;
        while player.play(source, false) > 0 {}
        source.detach();
        while player.play(source, true) > 0 {}
        Ok(player.finish())
    }
}

/// A replay under way: see [`Replay::start`].
pub struct Player {
    pipeline: Pipeline,
    sinks: Vec<Outlet>,
    /// The account of the events that were handed in one by one.
    counters: Counters,
}

impl Player {
    /// Takes an event. The records that it completes reach the sinks in batches, the last of them
    /// in [`Player::finish`].
    pub fn event(&mut self, event: Event<'_>) {
        self.counters.reserved += 1;
        self.counters.seen += 1;
        if let Event::Data(data) = &event {
            self.counters.captured_bytes += data.captured.len() as u64;
        }
        self.pipeline.event(event);
        if self.pipeline.records().len() >= BATCH {
            self.deliver();
        }
    }

    /// Takes what `source` has now, and returns how many events that were. The account of events is
    /// the source's from then on: do not mix this with [`Player::event`].
    pub fn play(&mut self, source: &mut dyn EventSource, finish: bool) -> usize {
        let Self { pipeline, sinks, .. } = self;
        let seen = pipeline.poll(source, finish, |_, records| deliver(sinks, records));
        pipeline.counters(source.counters());
        deliver(sinks, pipeline.records());
        seen
    }

    /// The account so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.pipeline.stats();
        stats.sinks = self.sinks.iter().map(|sink| sink.stats.clone()).collect();
        for sink in &stats.sinks.clone() {
            if sink.dropped_failed > 0 {
                stats.add_lost(Stage::Sink, Cause::SinkFailed, sink.dropped_failed, 0);
            }
        }
        stats
    }

    /// Ends all connections, hands the last records to the sinks, flushes them and closes the
    /// account.
    #[must_use]
    pub fn finish(mut self) -> Stats {
        if self.counters.seen > 0 {
            self.pipeline.counters(self.counters.clone());
        }
        self.pipeline.finish(self.pipeline.now());
        self.deliver();
        self.sinks.iter_mut().for_each(Outlet::flush);
        self.stats()
    }

    fn deliver(&mut self) {
        deliver(&mut self.sinks, self.pipeline.records());
    }
}

fn deliver(sinks: &mut [Outlet], records: &mut Vec<Record>) {
    if !records.is_empty() {
        sinks.iter_mut().for_each(|sink| sink.emit(records));
        records.clear();
    }
}

impl fmt::Debug for Player {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Player").field("counters", &self.counters).finish_non_exhaustive()
    }
}

/// A sink that is called inline.
struct Outlet {
    sink: Box<dyn Sink>,
    interest: Interest,
    stats: SinkStats,
}

impl Outlet {
    fn new(sink: Box<dyn Sink>) -> Self {
        let interest = sink.interest();
        Self { sink, interest, stats: SinkStats::default() }
    }

    fn emit(&mut self, records: &[Record]) {
        let wants = |record: &Record| self.interest.wants(record.kind());
        for run in records.chunk_by(|one, other| wants(one) == wants(other)) {
            if run.first().is_some_and(wants) {
                match self.sink.emit(run) {
                    Ok(()) => self.stats.emitted += run.len() as u64,
                    Err(error) => {
                        let dropped = error.dropped(run.len());
                        self.stats.dropped_failed += dropped;
                        self.stats.emitted += run.len() as u64 - dropped;
                        self.stats.last_error = Some(error.to_string());
                    }
                }
            }
        }
    }

    fn flush(&mut self) {
        if let Err(error) = self.sink.flush() {
            self.stats.last_error = Some(error.to_string());
        }
    }
}
