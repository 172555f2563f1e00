use crate::pipeline::{ConnectionLimits, Options};
use pixie_core::{Interest, Sink};
use pixie_protocols::parser::Protocol;
use std::fmt;
use std::sync::Arc;

/// What a [`Tracer`](crate::Tracer) and a [`Replay`](crate::Replay) have in common: how traffic is
/// parsed, and where the records go. They differ in the source of the traffic.
#[must_use = "nothing happens before it is started"]
#[derive(Default)]
pub struct Builder<Source> {
    pub(crate) source: Source,
    pub(crate) options: Options,
    pub(crate) sinks: Vec<Box<dyn Sink>>,
}

/// How it is parsed.
impl<Source> Builder<Source> {
    /// Keeps at most so many bytes of a message's body in its record. Default 4 KiB.
    pub fn body_bytes(mut self, bytes: usize) -> Self {
        self.options.parser = self.options.parser.with_body(bytes);
        self
    }

    /// Bounds on what is held for connections.
    pub fn connection_limits(mut self, limits: ConnectionLimits) -> Self {
        self.options.connections = limits;
        self
    }

    /// Parses this protocol too. It is asked before the ones that come with the library.
    pub fn protocol(mut self, protocol: impl Protocol + 'static) -> Self {
        self.options.protocols.push(Arc::new(protocol));
        self
    }

    /// Parses this protocol, and no others but those that are named too.
    pub fn only_protocol(mut self, name: impl Into<String>) -> Self {
        self.options.only.push(name.into());
        self
    }

    /// Takes connections with this port to speak this protocol, without looking at what they say.
    pub fn decode_as(mut self, port: u16, protocol: impl Into<String>) -> Self {
        self.options.decode_as.push((port, protocol.into()));
        self
    }
}

/// Where records go.
impl<Source> Builder<Source> {
    /// Adds a sink. Each gets every record that it is [interested](Sink::interest) in.
    pub fn sink(mut self, sink: impl Sink + 'static) -> Self {
        self.sinks.push(Box::new(sink));
        self
    }

    /// What the sinks want together.
    pub(crate) fn interest(&self) -> Interest {
        self.sinks.iter().map(|sink| sink.interest()).fold(Interest::none(), Interest::union)
    }
}

impl<Source: fmt::Debug> fmt::Debug for Builder<Source> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Builder")
            .field("source", &self.source)
            .field("sinks", &self.sinks.len())
            .finish_non_exhaustive()
    }
}
