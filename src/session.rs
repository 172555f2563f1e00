use crate::{Error, Report, Stats};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What the session waits beyond the time that its thread was given, before it gives it up.
const MARGIN: Duration = Duration::from_secs(1);

/// Tracing under way. Ends when it is [stopped](Session::stop) or dropped.
///
/// Nothing stays behind in the kernel when the session ends, nor when its process is killed.
#[must_use = "tracing ends when the session is dropped"]
pub struct Session {
    pub(crate) report: Report,
    pub(crate) stats: Arc<Mutex<Stats>>,
    pub(crate) worker: Option<Running>,
    pub(crate) stop_timeout: Duration,
}

/// The session's hold on its thread.
pub(crate) struct Running {
    /// The thread stops when this is dropped.
    pub(crate) stop: Sender<()>,
    /// Disconnected when the thread has ended.
    pub(crate) ended: Receiver<()>,
    pub(crate) thread: JoinHandle<()>,
}

impl Session {
    /// A session in which nothing is under way.
    pub(crate) fn idle(report: Report) -> Self {
        Self { report, stats: Arc::default(), worker: None, stop_timeout: Duration::ZERO }
    }

    /// What was attached, what was not, and why. To be shown to people as it is.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The account so far, at most about 100 ms old.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
        let Some(Running { stop, ended, thread }) = self.worker.take() else { return Ok(()) };
        drop(stop);
        match ended.recv_timeout(self.stop_timeout + MARGIN) {
            Err(RecvTimeoutError::Timeout) => Err(Error::StopTimedOut(self.stop_timeout + MARGIN)),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                thread.join().map_err(|_| Error::Panicked)
            }
        }
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
        formatter.debug_struct("Session").field("report", &self.report).finish_non_exhaustive()
    }
}
