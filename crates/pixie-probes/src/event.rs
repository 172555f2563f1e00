//! Events: what the kernel side tells, in a form that is safe to use.
//!
//! The same events are made from packet captures and from recordings; nothing after this point
//! knows where bytes came from.

use crate::tls::Library;
use pixie_core::id::{ConnectionId, Direction, Pid, Role, Transport};
use pixie_core::record::{Address, Cause, CgroupId};
use pixie_core::time::MonotonicTime;
use std::net::SocketAddr;
use std::sync::Arc;

/// One event. Events of one connection come in the order of their times.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A connection was first seen, or was seen in another process than before.
    Open(&'a Open),
    /// Bytes went over a connection.
    Data(Data<'a>),
    /// A connection or a TLS session ended.
    Close(Close),
    /// A TLS session was first seen, or the connection that carries it became known.
    Secure(&'a Secure),
    /// A process ended.
    Exit {
        /// The process.
        pid: Pid,
        /// When.
        time: MonotonicTime,
    },
}

/// A connection was first seen, or was seen in another process than before.
///
/// It may be older than the tracer.
#[derive(Clone, Debug)]
pub struct Open {
    /// The connection. An id that is known already means that another process now uses it.
    pub connection: ConnectionId,
    /// When.
    pub time: MonotonicTime,
    /// The process.
    pub pid: Pid,
    /// When the process started, in nanoseconds since boot.
    pub start_time_ns: u64,
    /// The name of the process: the bytes before the first NUL.
    pub comm: [u8; 16],
    /// The cgroup of the process.
    pub cgroup: Option<CgroupId>,
    /// What carries the connection.
    pub transport: Transport,
    /// The process's end.
    pub local: Option<Address>,
    /// The other end.
    pub remote: Option<Address>,
    /// What the socket tells of the process's role.
    pub role: Option<Role>,
}

/// A TLS session was first seen, or the connection that carries it became known.
///
/// Its plaintext comes as [`Data`] of a connection of its own, with the session's id; its positions
/// count from an origin of their own. It may be older than the tracer.
#[derive(Clone, Debug)]
pub struct Secure {
    /// The session. An id that is known already means that more is known of it now.
    pub session: ConnectionId,
    /// The connection that carries it, once that is known.
    pub carrier: Option<ConnectionId>,
    /// Its handshake was seen to begin, so that nothing that it said before was missed.
    pub from_start: bool,
    /// The library leaves it to the kernel to encrypt what is sent (kTLS).
    pub by_kernel: bool,
    /// The only direction in which it goes: of some libraries, an object that is read and one that is
    /// written belong together as two that the same connection carries.
    pub half: Option<Direction>,
    /// Only some ports are asked for, so that it is of no interest until its carrier is known.
    pub filtered: bool,
    /// When.
    pub time: MonotonicTime,
    /// The process.
    pub pid: Pid,
    /// When the process started, in nanoseconds since boot.
    pub start_time_ns: u64,
    /// The name of the process: the bytes before the first NUL.
    pub comm: [u8; 16],
    /// The cgroup of the process.
    pub cgroup: Option<CgroupId>,
    /// The library that encrypts, where it is known.
    pub library: Option<Library>,
    /// Its version, where it is known.
    pub version: Option<Arc<str>>,
    /// Which file was probed, as the attacher numbers them; 0 where the kernel does not say.
    pub(crate) target: u32,
}

impl Secure {
    /// A session of which nothing else is known.
    #[must_use]
    pub fn new(session: ConnectionId, time: MonotonicTime, pid: Pid) -> Self {
        Self {
            session,
            carrier: None,
            from_start: false,
            by_kernel: false,
            half: None,
            filtered: false,
            time,
            pid,
            start_time_ns: 0,
            comm: [0; 16],
            cgroup: None,
            library: None,
            version: None,
            target: 0,
        }
    }
}

/// Bytes that one transfer carried.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    /// The connection.
    pub connection: ConnectionId,
    /// When the transfer was done.
    pub time: MonotonicTime,
    /// Which way the bytes went.
    pub direction: Direction,
    /// The place of the first byte in the stream, modulo 2^32, from an arbitrary origin. Not used
    /// for datagrams.
    pub position: u32,
    /// How many bytes the transfer carried.
    pub length: u32,
    /// The first of them, as many as were captured: at most `length`.
    pub captured: &'a [u8],
    /// Why `captured` is shorter than `length`, where it is.
    pub hole: Cause,
    /// The other end of a datagram.
    pub peer: Option<SocketAddr>,
    /// True when no more bytes will come in this direction; `length` is then 0.
    pub end: bool,
    /// Of bytes that were received, where it is known and matters: the place in the other stream
    /// that this end had sent up to by then. What was received may answer what stands before it,
    /// even if that is told of later.
    pub sent_until: Option<u32>,
}

impl Open {
    /// A connection of which nothing else is known.
    #[must_use]
    pub fn new(
        connection: ConnectionId,
        time: MonotonicTime,
        pid: Pid,
        transport: Transport,
    ) -> Self {
        Self {
            connection,
            time,
            pid,
            start_time_ns: 0,
            comm: [0; 16],
            cgroup: None,
            transport,
            local: None,
            remote: None,
            role: None,
        }
    }
}

impl<'a> Data<'a> {
    /// These bytes, all of them captured.
    #[must_use]
    pub fn new(
        connection: ConnectionId,
        time: MonotonicTime,
        direction: Direction,
        position: u32,
        bytes: &'a [u8],
    ) -> Self {
        Self {
            connection,
            time,
            direction,
            position,
            length: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            captured: bytes,
            hole: Cause::CaptureLimit,
            peer: None,
            end: false,
            sent_until: None,
        }
    }
}

/// A connection ended.
#[derive(Clone, Copy, Debug)]
pub struct Close {
    /// The connection.
    pub connection: ConnectionId,
    /// When.
    pub time: MonotonicTime,
    /// The place in the stream after the last byte that was transferred, by
    /// [`Direction::index`], where it is known.
    pub positions: [Option<u32>; 2],
}

/// Where events come from: the kernel, a recording, or a packet capture.
pub trait EventSource: Send {
    /// Hands over what has come in since the last call, in the order of time, and returns how many
    /// events that were. Does not wait.
    ///
    /// With `finish`, also what would otherwise be held back until its order is certain.
    fn poll(&mut self, finish: bool, handler: &mut dyn FnMut(Event<'_>)) -> usize;

    /// Asks not to be told of this connection's bytes any more, because nobody parses them. The
    /// source still tells of some of them now and then, so that a change of protocol is noticed.
    fn ignore(&mut self, connection: ConnectionId);

    /// Takes [`ignore`](EventSource::ignore) back: the connection speaks something that is parsed
    /// after all.
    fn heed(&mut self, connection: ConnectionId) {
        let _ = connection;
    }

    /// Says that what was known of this connection was given up, for want of memory. Should bytes
    /// go over it again, another [`Event::Open`] is to come first.
    fn forget(&mut self, connection: ConnectionId) {
        let _ = connection;
    }

    /// The account of what was seen and lost so far.
    fn counters(&mut self) -> Counters;

    /// Stops new events from coming. What has come in already can still be polled.
    fn detach(&mut self);
}

/// The account of an [`EventSource`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Events for which there was room.
    pub reserved: u64,
    /// Events that were handed over or are held back.
    pub seen: u64,
    /// Events that were dropped for want of room.
    pub dropped: u64,
    /// Bytes that the dropped events would have told of.
    pub dropped_bytes: u64,
    /// Times that the kernel did not run a probe.
    pub missed: u64,
    /// Events that were not in the form we expect.
    pub malformed: u64,
    /// Bytes of payload that were captured.
    pub captured_bytes: u64,
    /// Calls of TLS functions that were seen to return, but not to begin: they were under way when
    /// the function was probed.
    pub unmatched_calls: u64,
    /// Calls of rustls that were not understood: what went in, what came out and the TLS record did not
    /// agree.
    pub unproven_calls: u64,
}
