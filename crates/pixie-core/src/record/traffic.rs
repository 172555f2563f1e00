use super::{Address, Connection, Process};
use crate::id::Role;
use crate::time::{MonotonicTime, WallTime};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What every record of an exchange over a connection has in common.
///
/// A parser is handed a template that knows the process and the connection, and clones it for each
/// exchange; the times are filled in by [`Traffic::timed`].
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Traffic {
    /// When the first byte of the request (or, where there was none, of the response) was written
    /// or read by the traced process, by the wall clock.
    pub time: WallTime,
    /// The same moment by the monotonic clock.
    pub monotonic: MonotonicTime,
    /// From the request's first byte to the response's last. `None` when one of them was not seen
    /// or the protocol has none.
    ///
    /// Both are taken when the system call that carried the byte returned, in the traced process:
    /// for a client this is what it waited, for a server what it took to answer.
    pub latency: Option<Duration>,
    /// From the request's first byte to the response's first ("time to first byte").
    pub time_to_first_byte: Option<Duration>,
    /// The part the process plays; `None` when the protocol does not say and neither does the
    /// socket.
    pub role: Option<Role>,
    /// The process that was observed.
    pub process: Arc<Process>,
    /// The connection that carried the exchange.
    pub connection: Arc<Connection>,
    /// Bytes of the request on the connection, headers and framing included.
    pub request_bytes: u64,
    /// Bytes of the response on the connection, headers and framing included.
    pub response_bytes: u64,
}

/// When the parts of an exchange were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// The request's first byte.
    pub request_start: Option<MonotonicTime>,
    /// The response's first byte.
    pub response_start: Option<MonotonicTime>,
    /// The response's last byte.
    pub response_end: Option<MonotonicTime>,
}

impl Traffic {
    /// This template with the times of one exchange, and the process's role in it.
    ///
    /// [`Traffic::time`] is left alone: whoever knows the clock sets it.
    #[must_use]
    pub fn timed(mut self, role: Option<Role>, timing: Timing) -> Self {
        self.set_timing(role, timing);
        self
    }

    /// The same as [`Traffic::timed`], in place.
    pub fn set_timing(&mut self, role: Option<Role>, timing: Timing) {
        let start = timing.request_start.or(timing.response_start).or(timing.response_end);
        let since_request = |end: Option<MonotonicTime>| Some(end?.since(timing.request_start?));
        self.monotonic = start.unwrap_or_default();
        self.latency = since_request(timing.response_end);
        self.time_to_first_byte = since_request(timing.response_start);
        self.role = role.or(self.role);
    }

    /// What a line for people starts with: time, process and connection.
    pub(super) fn fmt_prefix(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.time)?;
        // A packet capture does not tell of processes.
        if *self.process != Process::default() {
            write!(formatter, " {} {}", self.process.pid, self.process.comm)?;
        }
        let end = |end: &Option<Address>| end.as_ref().map_or("?".to_owned(), Address::to_string);
        let (local, remote) = (end(&self.connection.local), end(&self.connection.remote));
        match self.role {
            Some(Role::Client) => write!(formatter, " client {local} -> {remote}")?,
            Some(Role::Server) => write!(formatter, " server {local} <- {remote}")?,
            None => write!(formatter, " {local} -- {remote}")?,
        }
        match &self.connection.encrypted {
            Some(library) if self.connection.encrypted_by_kernel => {
                write!(formatter, " ({library}, kernel)")
            }
            Some(library) => write!(formatter, " ({library})"),
            None => Ok(()),
        }
    }

    /// What a line for people ends with.
    pub(super) fn fmt_latency(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.latency {
            Some(latency) => write!(formatter, " {latency:.2?}"),
            None => Ok(()),
        }
    }
}

#[cfg(feature = "serde")]
impl super::Entries for Traffic {
    fn entries<M: serde::ser::SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let nanoseconds = |duration: Option<Duration>| {
            duration.map(|duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
        };
        map.serialize_entry("time_unix_ns", &self.time.0)?;
        map.serialize_entry("monotonic_ns", &self.monotonic.0)?;
        map.serialize_entry("latency_ns", &nanoseconds(self.latency))?;
        map.serialize_entry("ttfb_ns", &nanoseconds(self.time_to_first_byte))?;
        self.process.entries(map)?;
        map.serialize_entry("role", &self.role.map(Role::as_str))?;
        self.connection.entries(map)?;
        map.serialize_entry("request_bytes", &self.request_bytes)?;
        map.serialize_entry("response_bytes", &self.response_bytes)
    }
}
