//! Identities: of connections, of processes, and the direction of bytes between them.

use std::fmt;

/// A connection, for as long as the tracer that named it runs.
///
/// Made from the identity of the kernel's socket, so file descriptors that are duplicated, passed
/// on or reused do not confuse it. It means nothing to another tracer or after a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// A process id as the initial pid namespace knows it (the kernel's `tgid`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid(pub u32);

impl fmt::Display for Pid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Which way bytes went, as the traced process sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Written by the traced process.
    Sent,
    /// Read by the traced process.
    Received,
}

impl Direction {
    /// The other way.
    #[must_use]
    pub fn reverse(self) -> Self {
        match self {
            Self::Sent => Self::Received,
            Self::Received => Self::Sent,
        }
    }

    /// 0 for [`Direction::Sent`] and 1 for [`Direction::Received`], to index a pair with.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::Sent => 0,
            Self::Received => 1,
        }
    }
}

/// The part that the traced process plays in an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// It sent the request.
    Client,
    /// It received the request.
    Server,
}

impl Role {
    /// `"client"` or `"server"`, as in the JSON form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What carries a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Transport {
    /// TCP over IPv4 or IPv6.
    #[default]
    Tcp,
    /// UDP over IPv4 or IPv6: every transfer is one datagram.
    Udp,
    /// A Unix stream socket.
    UnixStream,
    /// A Unix datagram or sequenced-packet socket: every transfer is one datagram.
    UnixDatagram,
}

impl Transport {
    /// True where message boundaries are kept and there is no byte stream.
    #[must_use]
    pub fn is_datagram(self) -> bool {
        matches!(self, Self::Udp | Self::UnixDatagram)
    }

    /// `"tcp"`, `"udp"`, `"unix"` or `"unix_datagram"`, as in the JSON form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::UnixStream => "unix",
            Self::UnixDatagram => "unix_datagram",
        }
    }
}
