use crate::pipeline::delivery::SharedDelivery;
use crate::{Error, Report, Stats};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use pixie_probes::{Reporter, monotonic_now};
use std::fmt;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What the session waits beyond the time that its threads were given, before it gives them up.
const MARGIN: Duration = Duration::from_secs(1);

/// Tracing under way. Ends when it is [stopped](Session::stop) or dropped.
///
/// Nothing stays behind in the kernel when the session ends, nor when its process is killed.
#[must_use = "tracing ends when the session is dropped"]
pub struct Session {
    /// All but what the reporter knows.
    report: Report,
    reporter: Option<Reporter>,
    stop_timeout: Duration,
    /// The threads that make records.
    workers: Vec<Running>,
    /// What each of them has counted.
    accounts: Vec<Account>,
    /// Where they send what they make; `None` when nothing is under way.
    delivery: Option<SharedDelivery>,
}

/// Enters what a part of the session has counted.
pub(crate) type Account = Box<dyn Fn(&mut Stats) + Send + Sync>;

/// The session's hold on a thread.
pub(crate) struct Running {
    /// The thread stops when this is dropped.
    stop: Sender<()>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Starts a thread, which is to end when what it is handed is disconnected.
    pub(crate) fn start(
        name: &'static str,
        run: impl FnOnce(Receiver<()>) + Send + 'static,
    ) -> Result<Self, Error> {
        let (stop, stopped) = bounded(0);
        let (alive, ended) = bounded::<()>(0);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _alive = alive;
                run(stopped);
            })
            .map_err(|cause| Error::Thread { name, cause })?;
        Ok(Self { stop, ended, thread })
    }
}

impl Session {
    /// A session in which nothing is under way.
    pub(crate) fn idle(report: Report) -> Self {
        let (workers, accounts) = (Vec::new(), Vec::new());
        let (reporter, stop_timeout) = (None, Duration::ZERO);
        Self { report, reporter, stop_timeout, workers, accounts, delivery: None }
    }

    /// A session of these threads that make records, with the account of each. They send records to
    /// `delivery`, and have that long to stop.
    pub(crate) fn new(
        report: Report,
        reporter: Option<Reporter>,
        delivery: SharedDelivery,
        stop_timeout: Duration,
        parts: Vec<(Running, Account)>,
    ) -> Self {
        let (workers, accounts) = parts.into_iter().unzip();
        let delivery = Some(delivery);
        Self { report, reporter, stop_timeout, workers, accounts, delivery }
    }

    /// What is attached now, what is not, and why. To be shown to people as it is. It grows as
    /// processes come that use TLS libraries.
    #[must_use]
    pub fn report(&self) -> Report {
        let traffic = self.reporter.as_ref().map(Reporter::report);
        Report { traffic, ..self.report.clone() }
    }

    /// The account so far, at most about 100 ms old.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        for account in &self.accounts {
            account(&mut stats);
        }
        if let Some(delivery) = &self.delivery {
            delivery.lock().account(&mut stats);
        }
        stats
    }

    /// Detaches, hands on what has come in so far, waits for the sinks to finish with it and closes
    /// the account. Takes no longer than [`Tracer::stop_timeout`](crate::Tracer::stop_timeout) and
    /// a second: a sink that hangs is abandoned, and its records count as dropped.
    ///
    /// # Errors
    /// [`Error::StopTimedOut`] when the capture itself hangs, and [`Error::Panicked`] when it ended
    /// on its own because of a fault in this library.
    pub fn stop(mut self) -> Result<Stats, Error> {
        self.end()?;
        Ok(self.stats())
    }

    fn end(&mut self) -> Result<(), Error> {
        let limit = self.stop_timeout + MARGIN;
        let deadline = Instant::now() + self.stop_timeout;
        // All of them are told before any is waited for.
        let told = |Running { stop, ended, thread }| {
            drop(stop);
            (ended, thread)
        };
        let workers: Vec<_> = self.workers.drain(..).map(told).collect();
        let mut result = Ok(());
        for (ended, thread) in workers {
            let ended = match ended.recv_deadline(deadline + MARGIN) {
                Err(RecvTimeoutError::Timeout) => Err(Error::StopTimedOut(limit)),
                Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                    thread.join().map_err(|_| Error::Panicked)
                }
            };
            result = result.and(ended);
        }
        if let Some(delivery) = &self.delivery {
            delivery.lock().stop(monotonic_now(), deadline);
        }
        result
    }
}

impl Drop for Session {
    /// Stops as [`Session::stop`] does; what became of it is not told.
    fn drop(&mut self) {
        let _ = self.end();
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Session").field("report", &self.report()).finish_non_exhaustive()
    }
}
