use crate::Text;
use crate::id::{ConnectionId, Pid, Transport};
use std::fmt;
use std::net::SocketAddr;

/// The process that an event was observed in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Process {
    /// Its id, in the initial pid namespace.
    pub pid: Pid,
    /// When it started, in nanoseconds since boot; with the pid it names a process for good.
    /// 0 when unknown.
    pub start_time_ns: u64,
    /// The name of its main thread: at most 15 bytes (`/proc/PID/comm`).
    pub comm: Text,
    /// The path of its executable as the process sees it; `None` when it had ended before it could
    /// be read.
    pub exe: Option<Text>,
    /// The cgroup it ran in, by its id in the version 2 hierarchy.
    pub cgroup: Option<CgroupId>,
    /// The container it ran in, where its cgroup's path names one: a hexadecimal id of 64 digits.
    pub container: Option<Text>,
}

impl Process {
    /// A process of which only the pid and the name are known.
    #[must_use]
    pub fn new(pid: Pid, comm: Text) -> Self {
        Self { pid, comm, ..Self::default() }
    }
}

/// The id of a cgroup in the version 2 hierarchy: the inode number of its folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CgroupId(pub u64);

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An internet address and port. IPv4 addresses mapped into IPv6 are shown as IPv4.
    Inet(SocketAddr),
    /// A Unix socket's path; one in the abstract namespace starts with `@`.
    Unix(Text),
}

impl Address {
    /// The port, where there is one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Inet(address) => Some(address.port()),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Address {
    /// `127.0.0.1:80`, `[::1]:80` or `unix:/run/docker.sock`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(formatter),
            Self::Unix(path) => write!(formatter, "unix:{path}"),
        }
    }
}

/// What carried an exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connection {
    /// Its identity.
    pub id: ConnectionId,
    /// What carries it.
    pub transport: Transport,
    /// The traced process's end.
    pub local: Option<Address>,
    /// The other end. For datagrams it is the peer of the exchange, not of the socket.
    pub remote: Option<Address>,
    /// The library that encrypts it, when the bytes were taken from inside one: `openssl`, say.
    pub encrypted: Option<Text>,
    /// The version of that library, where it is known.
    pub encrypted_version: Option<Text>,
    /// Whether that library leaves it to the kernel to encrypt what is sent (kTLS). It is known from
    /// the first bytes on that were sent so.
    pub encrypted_by_kernel: bool,
    /// The ends that a proxy in front names, where it sends a PROXY protocol header.
    pub proxied: Option<Proxied>,
}

/// Whose connection a proxy passes on: the addresses in a PROXY protocol header (versions 1 and 2,
/// <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proxied {
    /// Who connected to the proxy; `None` where the header does not say (`UNKNOWN`, `LOCAL`).
    pub source: Option<Address>,
    /// Where the proxy was connected to.
    pub destination: Option<Address>,
}

impl Proxied {
    /// These ends.
    #[must_use]
    pub fn new(source: Option<Address>, destination: Option<Address>) -> Self {
        Self { source, destination }
    }
}

impl Connection {
    /// A connection of which nothing but its identity and transport is known.
    #[must_use]
    pub fn new(id: ConnectionId, transport: Transport) -> Self {
        Self { id, transport, ..Self::default() }
    }
}

#[cfg(feature = "serde")]
mod serialize {
    use super::{Address, Connection, Process};
    use crate::id::ConnectionId;
    use crate::record::Entries;
    use serde::ser::{Serialize, SerializeMap, Serializer};

    impl Serialize for ConnectionId {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }

    impl Serialize for Address {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }

    impl Entries for Process {
        fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
            map.serialize_entry("pid", &self.pid.0)?;
            map.serialize_entry("comm", &self.comm)?;
            map.serialize_entry("exe", &self.exe)?;
            map.serialize_entry("process_start_ns", &self.start_time_ns)?;
            map.serialize_entry("cgroup", &self.cgroup.map(|cgroup| cgroup.0))?;
            map.serialize_entry("container", &self.container)
        }
    }

    impl Entries for Connection {
        fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
            map.serialize_entry("connection", &self.id)?;
            map.serialize_entry("transport", self.transport.as_str())?;
            map.serialize_entry("local", &self.local)?;
            map.serialize_entry("remote", &self.remote)?;
            map.serialize_entry("encrypted", &self.encrypted)?;
            if self.encrypted.is_some() {
                map.serialize_entry("encrypted_version", &self.encrypted_version)?;
                map.serialize_entry("encrypted_by_kernel", &self.encrypted_by_kernel)?;
            }
            if let Some(proxied) = &self.proxied {
                map.serialize_entry("proxied_source", &proxied.source)?;
                map.serialize_entry("proxied_destination", &proxied.destination)?;
            }
            Ok(())
        }
    }
}
