use crate::id::ConnectionId;
use crate::record::heap::flat;
use crate::time::MonotonicTime;
use std::fmt;

/// Something that was lost: how much, where and why.
///
/// Every loss is counted twice: here, in-band, so that a consumer of records knows that what it
/// has is not everything, and in [`Stats`](crate::Stats).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// When the loss was noticed.
    pub monotonic: MonotonicTime,
    /// Where it happened.
    pub stage: Stage,
    /// Why.
    pub cause: Cause,
    /// How many units the stage deals in: events for [`Stage::Kernel`], samples for
    /// [`Stage::Sampler`], segments or gaps for [`Stage::Stream`], messages for [`Stage::Parser`], records for [`Stage::Sink`].
    pub count: u64,
    /// How many bytes of traffic; 0 where bytes cannot be told.
    pub bytes: u64,
    /// The connection concerned, when it is known.
    pub connection: Option<ConnectionId>,
}

impl Lost {
    /// `count` units and `bytes` lost at `stage` because of `cause`.
    #[must_use]
    pub fn new(time: MonotonicTime, stage: Stage, cause: Cause, count: u64, bytes: u64) -> Self {
        Self { monotonic: time, stage, cause, count, bytes, connection: None }
    }

    /// The same, on this connection.
    #[must_use]
    pub fn on(mut self, connection: ConnectionId) -> Self {
        self.connection = Some(connection);
        self
    }
}

/// A closed list of names, with their form in JSON and for people.
macro_rules! names {
    ($(#[$meta:meta])* $type:ident { $($(#[doc = $doc:literal])+ $variant:ident $name:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $type {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl $type {
            /// Every one there is.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its name in the JSON form.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.as_str())
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

pub(super) use names;

names! {
    /// Where something was lost, in the order in which an event passes through.
    Stage {
        /// In the kernel, before the event reached us.
        Kernel "kernel",
        /// While sampling call stacks.
        Sampler "sampler",
        /// While putting a connection's bytes in order.
        Stream "stream",
        /// While parsing.
        Parser "parser",
        /// In the queue before a sink, or in the sink.
        Sink "sink",
    }
}

names! {
    /// Why something was lost.
    Cause {
        /// The ring buffer between kernel and user space was full.
        RingFull "ring_full",
        /// The kernel's table of what was seen since it was last read was full.
        TableFull "table_full",
        /// The probe was not run by the kernel: it was nested in itself, or too many calls were
        /// under way (`missed` in the kernel's own account).
        ProbeMissed "probe_missed",
        /// The payload could not be read: its page was not resident, or its address not known.
        Unreadable "unreadable",
        /// The payload was larger than what is captured of one message.
        CaptureLimit "capture_limit",
        /// The bytes never were in user space: `sendfile`, `splice`.
        NotInUserSpace "not_in_user_space",
        /// The bytes were on the connection, but no event told of them.
        Unobserved "unobserved",
        /// The bytes were there before the tracer was.
        BeforeTracing "before_tracing",
        /// Only some connections are asked for, and it did not become known which one the bytes were on.
        UnknownConnection "unknown_connection",
        /// A limit on memory was reached, and the oldest went.
        MemoryLimit "memory_limit",
        /// The bytes are not what the protocol allows.
        Malformed "malformed",
        /// Nothing that is known speaks like this.
        UnknownProtocol "unknown_protocol",
        /// The session had to stop before a record was made of it.
        StopTimeout "stop_timeout",
        /// The sink was too slow and its queue was full.
        QueueFull "queue_full",
        /// The sink returned an error.
        SinkFailed "sink_failed",
        /// The sink panicked, and was retired.
        SinkPanicked "sink_panicked",
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, cause, count, bytes, .. } = self;
        write!(formatter, "lost {count} ({bytes} bytes) in {stage}: {cause}")?;
        match self.connection {
            Some(connection) => write!(formatter, ", connection {connection}"),
            None => Ok(()),
        }
    }
}

#[cfg(feature = "serde")]
impl super::Entries for Lost {
    fn entries<M: serde::ser::SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("monotonic_ns", &self.monotonic.0)?;
        map.serialize_entry("stage", &self.stage)?;
        map.serialize_entry("cause", &self.cause)?;
        map.serialize_entry("count", &self.count)?;
        map.serialize_entry("bytes", &self.bytes)?;
        map.serialize_entry("connection", &self.connection)
    }
}

flat! { Lost }
