use crate::builder::Builder;
use crate::pipeline::Pipeline;
use crate::pipeline::delivery::{Delivery, QueueLimits, SharedDelivery};
use crate::pipeline::worker::Worker;
use crate::profiling::{ProfileWorker, SharedAccount};
use crate::session::{Account, Running};
use crate::tls::Libraries;
use crate::{Error, Profiling, Report, Session};
use pixie_core::id::Pid;
use pixie_core::record::CgroupId;
use pixie_core::{RecordKind, Stats};
use pixie_probes::event::EventSource;
use pixie_probes::{Backend, Capture, CaptureOptions, Filter, Uprobes};
use pixie_profiler::Profiler;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Says what to trace, and where the records go.
///
/// ```no_run
/// use pixie::{Backend, Tracer};
///
/// let session = Tracer::new()
///     .kprobes()
///     .port(8080)
///     .backend(Backend::Socket)
///     .sink(pixie::sinks::each(|record| drop(record.to_string())))
///     .start()?;
/// let stats = session.stop()?;
/// # Ok::<(), pixie::Error>(())
/// ```
///
/// Nothing happens before [`Tracer::start`]. The defaults are meant for production.
pub type Tracer = Builder<Live>;

/// The source of a [`Tracer`]: what happens on this machine.
pub struct Live {
    traffic: bool,
    profiling: Option<Profiling>,
    capture: CaptureOptions,
    through: Vec<Through>,
    queue: QueueLimits,
    poll_interval: Duration,
    stop_timeout: Duration,
}

/// Puts something between the kernel's events and the pipeline.
type Through = Box<dyn FnOnce(Box<dyn EventSource>) -> Box<dyn EventSource> + Send>;

impl Default for Live {
    fn default() -> Self {
        Self {
            traffic: false,
            profiling: None,
            capture: CaptureOptions::default(),
            through: Vec::new(),
            queue: QueueLimits { records: 8 << 10, memory: 32 << 20 },
            poll_interval: Duration::from_millis(3),
            stop_timeout: Duration::from_secs(5),
        }
    }
}

/// What to trace.
impl Tracer {
    /// A tracer of nothing, into nowhere.
    pub fn new() -> Self {
        Self::default()
    }

    /// Captures the socket traffic of every process and parses it.
    ///
    /// Whether this is done by kprobes or by something that costs less depends on the kernel; see
    /// [`Backend`].
    pub fn kprobes(mut self) -> Self {
        self.source.traffic = true;
        self
    }

    /// Samples the call stacks of every process: so many times a second on each CPU that is not idle,
    /// or as [`Profiling`] says. The same filters as for traffic say whose, but for those by port.
    ///
    /// Makes [`Stack`](crate::record::Stack) records, one a second for each distinct stack.
    pub fn profiler(mut self, profiling: impl Into<Profiling>) -> Self {
        self.source.profiling = Some(profiling.into());
        self
    }

    /// Captures plaintext from inside these TLS libraries too, as [`tls`](crate::tls) has them.
    ///
    /// Which connection carries it, and what its handshake said, the socket traffic tells: it is
    /// captured as by [`Tracer::kprobes`].
    pub fn tls(mut self, libraries: impl Into<Libraries>) -> Self {
        self.source.traffic = true;
        let capture = &mut self.source.capture;
        capture.tls = capture.tls.union(libraries.into());
        self
    }

    /// Traces only what passes this filter. Replaces what was said about filters before.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.source.capture.filter = filter;
        self
    }

    /// Traces this process, and no others but those that are named too.
    pub fn pid(mut self, pid: u32) -> Self {
        self.source.capture.filter.pids.push(Pid(pid));
        self
    }

    /// Traces processes of exactly this cgroup (version 2), and no others but those of cgroups that
    /// are named too. The id is the inode number of the cgroup's folder.
    pub fn cgroup(mut self, cgroup: u64) -> Self {
        self.source.capture.filter.cgroups.push(CgroupId(cgroup));
        self
    }

    /// Traces connections with this port at either end, and no others but those with ports that are
    /// named too.
    pub fn port(mut self, port: u16) -> Self {
        self.source.capture.filter.ports.push(port);
        self
    }

    /// Does not trace this process.
    pub fn exclude_pid(mut self, pid: u32) -> Self {
        self.source.capture.filter.exclude_pids.push(Pid(pid));
        self
    }

    /// Does not trace processes of exactly this cgroup.
    pub fn exclude_cgroup(mut self, cgroup: u64) -> Self {
        self.source.capture.filter.exclude_cgroups.push(CgroupId(cgroup));
        self
    }

    /// Does not trace processes that run this executable.
    pub fn exclude_executable(mut self, path: impl Into<PathBuf>) -> Self {
        self.source.capture.filter.exclude_executables.push(path.into());
        self
    }

    /// Traces the process that the tracer runs in too. Mind that a sink that writes to a socket
    /// then makes records of its own records.
    pub fn include_self(mut self) -> Self {
        self.source.capture.include_self = true;
        self
    }
}

/// How it is captured.
impl Tracer {
    /// Captures by this means, or fails; the default takes the cheapest that works.
    pub fn backend(mut self, backend: Backend) -> Self {
        self.source.capture.backend = backend;
        self
    }

    /// Probes the functions of TLS libraries by this means, or fails; the default takes the better one
    /// that works.
    pub fn uprobes(mut self, uprobes: Uprobes) -> Self {
        self.source.capture.uprobes = uprobes;
        self
    }

    /// Captures at most so many bytes of a message; see [`CaptureOptions::message_bytes`].
    /// Default 16 KiB.
    pub fn message_bytes(mut self, bytes: u32) -> Self {
        self.source.capture.message_bytes = bytes;
        self
    }

    /// The size of the buffers between kernel and tracer together, in bytes; see
    /// [`CaptureOptions::ring_bytes`] for the default.
    pub fn ring_bytes(mut self, bytes: usize) -> Self {
        self.source.capture.ring_bytes = bytes;
        self
    }

    /// Puts a source of events of your own between the kernel and the pipeline: it is handed the one
    /// that is there, and its events are parsed instead. To record them, say, as the `Recorder` of
    /// `pixie-capture-file` does, or to drop some. Called in [`Tracer::start`], once all is attached.
    ///
    /// Bytes that nobody parses are no longer captured after a while, unless the source keeps
    /// [`EventSource::ignore`] to itself.
    pub fn through(
        mut self,
        source: impl FnOnce(Box<dyn EventSource>) -> Box<dyn EventSource> + Send + 'static,
    ) -> Self {
        self.source.through.push(Box::new(source));
        self
    }

    /// How long to wait for events between two looks, while there are any; up to four times as long
    /// when there are none. Records come later by as much. At least 1 ms; default 3 ms.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.source.poll_interval = interval.max(Duration::from_millis(1));
        self
    }
}

/// How records go.
impl Tracer {
    /// The most records that wait before a sink that is slower than the traffic; what comes then
    /// is dropped, counted and reported. Default 8,192, which is some 20 MB of records with small
    /// bodies. [`Tracer::queue_bytes`] is the other limit.
    pub fn queue_records(mut self, records: usize) -> Self {
        self.source.queue.records = records.max(1) as u64;
        self
    }

    /// The most memory, in bytes, of the records that wait before a sink, by
    /// [`Record::memory`](pixie_core::Record::memory). Default 32 MiB. Records that wait before
    /// several sinks are shared.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.source.queue.memory = bytes as u64;
        self
    }

    /// How long [`Session::stop`] may take. Default 5 s.
    pub fn stop_timeout(mut self, timeout: Duration) -> Self {
        self.source.stop_timeout = timeout;
        self
    }
}

impl Tracer {
    /// Loads, attaches and starts. Whatever can be said about the kernel is said here: either as an
    /// error, or in the session's [report](Session::report).
    ///
    /// # Errors
    /// When nothing was asked for, when nothing of it can be had (the message says why, and what to
    /// do about it), and when a protocol is named that there is not.
    pub fn start(self) -> Result<Session, Error> {
        let interest = self.interest();
        let Live { traffic, profiling, capture, through, stop_timeout, .. } = self.source;
        if !traffic && profiling.is_none() {
            return Err(Error::NothingToTrace);
        }
        if self.sinks.is_empty() {
            return Err(Error::NoSink);
        }
        let mut report = Report::default();
        let mut pipeline = None;
        if traffic {
            let wanted = Pipeline::new(&self.options, interest, true)?;
            report.protocols = wanted.protocols();
            pipeline = Some(wanted).filter(|wanted| !wanted.protocols().is_empty());
            if pipeline.is_none() {
                report.notes.push("nothing is captured: no sink wants what is parsed".to_owned());
            }
        }
        let sampled = profiling.filter(|_| {
            let wanted = interest.wants(RecordKind::Stack);
            if !wanted {
                report.notes.push("nothing is sampled: no sink wants call stacks".to_owned());
            }
            wanted
        });
        if pipeline.is_none() && sampled.is_none() {
            return Ok(Session::idle(report));
        }
        let delivery = SharedDelivery::new(Delivery::start(self.sinks, self.source.queue)?);
        // Half of the time is for the sinks.
        let drain = stop_timeout / 2;
        let filter = capture.filter.clone();
        let profiling = sampled.map(|it| it.filtered(&filter, capture.include_self));
        let mut results = Vec::new();
        let mut reporter = None;
        if let Some(pipeline) = pipeline {
            let poll_interval = self.source.poll_interval;
            let source = || -> Result<Box<dyn EventSource>, Error> {
                let capture = Capture::start(&capture)?;
                reporter = Some(capture.reporter());
                let capture: Box<dyn EventSource> = Box::new(capture);
                Ok(through.into_iter().fold(capture, |source, through| through(source)))
            };
            results.push(source().and_then(|source| {
                start_worker(source, pipeline, poll_interval, drain, delivery.clone())
            }));
        }
        if let Some(profiling) = profiling {
            let excluded = filter.exclude_executables;
            results.push(Profiler::start(&profiling.sampling).map_err(Error::from).and_then(
                |it| {
                    report.profiler = Some(it.report().clone());
                    start_profile_worker(it, profiling, excluded, drain, delivery.clone())
                },
            ));
        }
        let (mut parts, mut failures) = (Vec::new(), Vec::new());
        for result in results {
            match result {
                Ok(part) => parts.push(part),
                Err(error) => failures.push(error),
            }
        }
        report.notes.extend(failures.iter().map(ToString::to_string));
        match failures.into_iter().next() {
            Some(error) if parts.is_empty() => Err(error),
            _ => Ok(Session::new(report, reporter, delivery, stop_timeout, parts)),
        }
    }
}

/// Starts the thread that captures and parses.
fn start_worker(
    source: Box<dyn EventSource>,
    pipeline: Pipeline,
    poll_interval: Duration,
    drain_timeout: Duration,
    delivery: SharedDelivery,
) -> Result<(Running, Account), Error> {
    let stats = Arc::new(Mutex::new(Stats::default()));
    let account = Arc::clone(&stats);
    let running = Running::start("pixie", move |stop| {
        Worker { source, pipeline, delivery, poll_interval, stop, drain_timeout, stats }.run();
    })?;
    let enter = move |stats: &mut Stats| {
        *stats = account.lock().unwrap_or_else(PoisonError::into_inner).clone();
    };
    Ok((running, Box::new(enter)))
}

/// Starts the thread that names call stacks.
fn start_profile_worker(
    profiler: Profiler,
    profiling: Profiling,
    exclude_executables: Vec<PathBuf>,
    drain_timeout: Duration,
    delivery: SharedDelivery,
) -> Result<(Running, Account), Error> {
    let account = SharedAccount::default();
    let entries = account.clone();
    let running = Running::start("pixie-profiler", move |stop| {
        ProfileWorker::new(profiler, profiling, exclude_executables, delivery, entries)
            .run(&stop, drain_timeout);
    })?;
    Ok((running, Box::new(move |stats| account.enter(stats))))
}

impl fmt::Debug for Live {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Live").field("capture", &self.capture).finish_non_exhaustive()
    }
}
