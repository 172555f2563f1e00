//! The contract between the pipeline and a protocol's parser.
//!
//! A parser is sans-IO: it is handed the bytes of one connection, in order, and asked for what it
//! made of them. It opens nothing, waits for nothing and has no clock; the same code runs on live
//! traffic, on recorded events and on packet captures.
//!
//! ```text
//!   bytes ──► probe ──► Protocol::parser ──► feed / gap ──► poll ──► records
//!             Yes: from here on a parser of this protocol            │
//!                                                    switch ◄────────┘
//!                                      (Upgrade: the next bytes speak another protocol)
//! ```

use pixie_core::id::{Direction, Role, Transport};
use pixie_core::record::{Cause, Proxied, Traffic};
use pixie_core::time::MonotonicTime;
use pixie_core::{Record, RecordKind};
use std::net::SocketAddr;

/// Bytes that one transfer carried, or a part of them.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Which way they went.
    pub direction: Direction,
    /// When they were written or read.
    pub time: MonotonicTime,
    /// The bytes. On a datagram transport, exactly one datagram.
    pub bytes: &'a [u8],
    /// The other end, where each datagram has its own.
    pub peer: Option<SocketAddr>,
}

/// Parses one connection.
///
/// # Contract
///
/// - On a stream, how the bytes are cut into segments does not matter: any split of the same bytes
///   gives the same records (times apart).
/// - Nothing that is fed can make a parser panic, and nothing makes it hold more than
///   [`Limits::buffer`] bytes in each direction or more than [`Limits::pending`] unpaired messages:
///   what is beyond is given up, and reported as [`Output::Skipped`].
/// - After a gap, or after bytes that its protocol does not allow, a parser looks for the next
///   place where a message can begin, and goes on. It reports what it passed over.
/// - A parser never invents: a value that it could not see is absent from the record.
pub trait Parser: Send {
    /// Takes bytes. They follow on what was fed, or gapped, in this direction before.
    fn feed(&mut self, segment: Segment<'_>);

    /// Steps over `length` bytes that were on the connection but are not there to be fed.
    fn gap(&mut self, direction: Direction, time: MonotonicTime, length: u64);

    /// The next thing that the parser made of what it was fed; `None` when it needs more.
    ///
    /// Called until it says `None` after every `feed`, `gap` and `finish`.
    fn poll(&mut self) -> Option<Output>;

    /// Ends the connection: no more bytes will come in this direction. What was under way and is
    /// ended by that (a body without a length, say) becomes a record.
    fn finish(&mut self, direction: Direction, time: MonotonicTime);

    /// Bytes of memory that the parser holds now, to the nearest kilobyte or so.
    fn memory(&self) -> usize;
}

/// What a parser made of its input.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output {
    /// A record: an exchange that is complete, or as complete as it will ever be.
    Record(Record),
    /// From here on the connection speaks another protocol, both ways.
    Switch(Switch),
    /// Bytes that were passed over.
    Skipped {
        /// Which way they went.
        direction: Direction,
        /// How many.
        bytes: u64,
        /// Why: [`Cause::Malformed`], [`Cause::MemoryLimit`] or [`Cause::Unobserved`] (the parser
        /// was looking for a boundary after a gap).
        cause: Cause,
    },
}

/// A change of protocol in mid-connection. The parser is not fed again.
#[derive(Debug)]
#[non_exhaustive]
pub struct Switch {
    /// What follows.
    pub next: Next,
    /// Bytes that the parser was fed but that belong to what follows, by
    /// [`Direction::index`].
    pub unread: [Vec<u8>; 2],
    /// The exchange by which the change was agreed on, where what follows depends on it: it is
    /// handed on as [`Context::begun`]. It is a copy; the parser emits the record itself, too.
    pub begun: Option<Box<Record>>,
    /// Whose connection a proxy passes on: later records on the connection say so.
    pub proxied: Option<Proxied>,
}

/// What follows a change of protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Next {
    /// Whatever detection finds.
    Detect,
    /// The protocol of this name; nothing is parsed when there is none.
    Protocol(&'static str),
    /// Nothing that could be parsed: it is encrypted, say.
    Opaque,
}

impl Switch {
    /// A change to `next` at a place where nothing that was fed is left unread.
    #[must_use]
    pub fn to(next: Next) -> Self {
        Self { next, unread: [Vec::new(), Vec::new()], begun: None, proxied: None }
    }

    /// The same, with bytes that the parser was fed but that belong to what follows.
    #[must_use]
    pub fn with_unread(mut self, direction: Direction, bytes: Vec<u8>) -> Self {
        if let Some(unread) = self.unread.get_mut(direction.index()) {
            *unread = bytes;
        }
        self
    }
}

/// What the first bytes of a connection say about its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is this protocol, and these bytes belong to the side that makes requests.
    Yes,
    /// It is this protocol, and these bytes belong to the side that answers.
    Reversed,
    /// It is not this protocol.
    No,
    /// It may be: these bytes are too few to tell.
    NeedMore,
}

/// A protocol: how it is recognised, and how it is parsed.
///
/// Our own protocols and a user's are the same to the pipeline.
pub trait Protocol: Send + Sync {
    /// Its name, in lower case: `http1`, `dns`. Users choose by it, and [`Switch`] names it.
    fn name(&self) -> &'static str;

    /// The kinds of record that its parser emits, and those of protocols that only ever follow it.
    /// It is not run when no sink wants any of them. What stands in front of others, and emits
    /// nothing itself, has none, and is run when any other protocol is.
    fn emits(&self) -> &[RecordKind];

    /// Whether the protocol is spoken over this transport.
    fn transport(&self, transport: Transport) -> bool {
        !transport.is_datagram()
    }

    /// Looks at the first bytes that were seen in one direction of a connection, which may have
    /// been joined midway.
    ///
    /// Must not guess: `Yes` and `Reversed` are final for as long as the parser makes sense of what
    /// follows. Must come to a verdict within [`PROBE_LIMIT`] bytes: `NeedMore` beyond is `No`.
    fn probe(&self, bytes: &[u8]) -> Verdict;

    /// A parser for a connection of this protocol.
    fn parser(&self, context: Context) -> Box<dyn Parser>;
}

/// The most bytes that [`Protocol::probe`] is shown.
pub const PROBE_LIMIT: usize = 4096;

/// What a parser is told of its connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Context {
    /// The template for the records' [`Traffic`]: process, connection and, where the socket tells,
    /// role. Parsers clone it into each record with [`Traffic::timed`].
    pub traffic: Traffic,
    /// Which way requests go, when detection has found it.
    pub requests: Option<Direction>,
    /// Bounds on what a parser may hold.
    pub limits: Limits,
    /// The exchange by which the connection changed to this protocol, if it did: the `Upgrade`
    /// request of a WebSocket or of h2c.
    pub begun: Option<Box<Record>>,
}

/// Bounds on what a parser may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The most bytes of an unfinished message's head or frame that are held, a direction.
    /// Default 64 KiB.
    pub buffer: usize,
    /// The most bytes of one message's body that are kept in the record, before and after
    /// decoding. Default 4 KiB.
    pub body: usize,
    /// The most messages that wait for their counterpart. Default 1024.
    pub pending: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { buffer: 64 << 10, body: 4 << 10, pending: 1024 }
    }
}

impl Limits {
    /// The same with another limit on bodies, in bytes.
    #[must_use]
    pub fn with_body(mut self, bytes: usize) -> Self {
        self.body = bytes;
        self
    }
}

impl Context {
    /// A connection from its start, with the default limits.
    #[must_use]
    pub fn new(traffic: Traffic, requests: Option<Direction>) -> Self {
        Self { traffic, requests, limits: Limits::default(), begun: None }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The same for a connection that changed to this protocol by an exchange of another.
    #[must_use]
    pub fn with_begun(mut self, begun: Option<Box<Record>>) -> Self {
        self.begun = begun;
        self
    }

    /// The role of the traced process when its requests go in `direction`.
    #[must_use]
    pub fn role(requests: Direction) -> Role {
        match requests {
            Direction::Sent => Role::Client,
            Direction::Received => Role::Server,
        }
    }
}
