use pixie_probes::ProbeError;
use pixie_profiler::ProfileError;
use std::io;
use std::time::Duration;

/// Why a session could not start, or not end in an orderly way.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing was asked for.
    #[error(
        "nothing to trace: ask for something, with `Tracer::kprobes` or `Tracer::profiler` for instance"
    )]
    NothingToTrace,
    /// There is nowhere to send records to.
    #[error("no sink: records need somewhere to go, add one with `sink`")]
    NoSink,
    /// A protocol was named that is not among those that are to be parsed.
    #[error("no protocol that is to be parsed is called {name:?}; there are: {known}")]
    UnknownProtocol {
        /// The name.
        name: String,
        /// The names that there are, separated by commas.
        known: String,
    },
    /// Socket traffic cannot be captured.
    #[error("socket traffic cannot be captured: {0}")]
    Capture(#[from] ProbeError),
    /// Call stacks cannot be sampled.
    #[error("call stacks cannot be sampled: {0}")]
    Profile(#[from] ProfileError),
    /// A thread could not be started.
    #[error("the thread {name:?} could not be started: {cause}; is a limit on threads reached?")]
    Thread {
        /// Its name.
        name: &'static str,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// The session did not end in time. Its threads are left to themselves.
    #[error("the session did not stop within {0:?}, and was left behind")]
    StopTimedOut(Duration),
    /// A thread of the session ended on its own.
    #[error("a thread of the session has panicked: please report this")]
    Panicked,
}
