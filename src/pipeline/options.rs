use crate::Error;
use pixie_core::Interest;
use pixie_protocols::parser::{Limits, Protocol};
use pixie_protocols::registry::Registry;
use pixie_protocols::stream::StreamLimits;
use std::sync::Arc;
use std::time::Duration;

/// Bounds on what is held for connections.
///
/// What is beyond goes, least recently used first (of a sample of 16): exchanges that were under
/// way become records as they are. It is counted in
/// [`ConnectionStats::evicted`](crate::ConnectionStats::evicted) and reported as
/// [`Record::Lost`](crate::Record::Lost) with the cause
/// [`MemoryLimit`](crate::record::Cause::MemoryLimit).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionLimits {
    /// The most connections that are followed at a time. Default 65,536.
    pub count: usize,
    /// The most bytes of memory for all of them together. Default 64 MiB.
    pub memory: usize,
    /// A connection on which nothing happened for so long is forgotten, and counted as evicted.
    /// Default 1 hour.
    pub idle: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { count: 65_536, memory: 64 << 20, idle: Duration::from_secs(3600) }
    }
}

impl ConnectionLimits {
    /// The same with another bound on the number of connections.
    #[must_use]
    pub fn with_count(mut self, connections: usize) -> Self {
        self.count = connections;
        self
    }

    /// The same with another bound on memory, in bytes.
    #[must_use]
    pub fn with_memory(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    /// The same with another time after which a silent connection is forgotten.
    #[must_use]
    pub fn with_idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }
}

/// The protocols that connections with some ports speak.
pub(super) type DecodeAs = Vec<(u16, Arc<dyn Protocol>)>;

/// What a pipeline is told by whoever builds it.
#[derive(Clone, Default)]
pub(crate) struct Options {
    /// Protocols beside the ones that come with the library.
    pub(crate) protocols: Vec<Arc<dyn Protocol>>,
    /// The names of the protocols to parse; all when empty.
    pub(crate) only: Vec<String>,
    /// Connections with this port speak this protocol.
    pub(crate) decode_as: Vec<(u16, String)>,
    pub(crate) connections: ConnectionLimits,
    pub(crate) stream: StreamLimits,
    pub(crate) parser: Limits,
}

impl Options {
    /// The protocols to parse: those that make something of `interest`.
    pub(super) fn registry(&self, interest: Interest) -> Result<Registry, Error> {
        let all = self.protocols.iter().cloned().fold(Registry::new(), Registry::with);
        for name in &self.only {
            named(&all, name)?;
        }
        let only = |protocol: &dyn Protocol| {
            // What stands in front of others hides them from who does not know it.
            let is_in_front = protocol.emits().is_empty();
            is_in_front
                || self.only.is_empty()
                || self.only.iter().any(|name| name == protocol.name())
        };
        Ok(all.only(only).wanted(interest))
    }

    /// The ports whose protocol is given, as far as it is in `registry`.
    pub(super) fn decode_as(&self, registry: &Registry) -> Result<DecodeAs, Error> {
        let of_port = |(port, name): &(u16, String)| Ok((*port, named(registry, name)?));
        self.decode_as.iter().map(of_port).collect()
    }
}

fn named(registry: &Registry, name: &str) -> Result<Arc<dyn Protocol>, Error> {
    registry.get(name).cloned().ok_or_else(|| {
        let known: Vec<_> = registry.iter().map(|protocol| protocol.name()).collect();
        Error::UnknownProtocol { name: name.to_owned(), known: known.join(", ") }
    })
}
