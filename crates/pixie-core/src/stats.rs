use crate::record::{Cause, Stage};

/// The account of a session: what was seen, what became of it, and what was lost.
///
/// Counters only grow. Two equations hold whenever the session is idle, and after it has stopped:
///
/// - events: `capture.events_reserved + capture.events_dropped` is what the kernel meant to send,
///   and `capture.events_seen == capture.events_reserved`;
/// - bytes: `stream.bytes_total == stream.bytes_delivered + stream.bytes_in_gaps`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Stats {
    /// From the kernel to us.
    pub capture: CaptureStats,
    /// Connections.
    pub connections: ConnectionStats,
    /// The bytes of connections, put in order.
    pub stream: StreamStats,
    /// The parsers.
    pub parser: ParserStats,
    /// The sinks, in the order in which they were added.
    pub sinks: Vec<SinkStats>,
    /// Everything lost, by stage and cause, as emitted in-band.
    pub lost: Vec<LostStats>,
}

/// How much was lost at one stage for one cause.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LostStats {
    /// Where.
    pub stage: Stage,
    /// Why.
    pub cause: Cause,
    /// How many units; see [`Lost::count`](crate::record::Lost::count).
    pub count: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// Events from the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct CaptureStats {
    /// Events for which the kernel side found room.
    pub events_reserved: u64,
    /// Events that it had to drop, for whatever cause.
    pub events_dropped: u64,
    /// Events that reached us.
    pub events_seen: u64,
    /// Bytes that dropped events would have told of.
    pub bytes_dropped: u64,
    /// Bytes of payload that were captured.
    pub bytes_captured: u64,
    /// Times that the kernel did not run a probe, as the kernel counts it.
    pub probes_missed: u64,
    /// Events that were not in the form we expect. Never anything but 0, unless the kernel side
    /// and this library are of different versions.
    pub events_malformed: u64,
}

/// Connections, by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ConnectionStats {
    /// Connections seen.
    pub opened: u64,
    /// Connections seen to end.
    pub closed: u64,
    /// Connections forgotten because there were too many or they had long been silent.
    pub evicted: u64,
    /// Connections known now.
    pub open: u64,
    /// Bytes of memory held for them now, by our own account.
    pub memory: u64,
}

/// The bytes of connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct StreamStats {
    /// Bytes that were on connections since each was first seen.
    pub bytes_total: u64,
    /// Bytes handed to a parser or to protocol detection.
    pub bytes_delivered: u64,
    /// Bytes that were not there to hand over: not captured, dropped, or not observed.
    pub bytes_in_gaps: u64,
    /// Gaps.
    pub gaps: u64,
    /// Segments that came before their turn and were held back.
    pub out_of_order: u64,
    /// Bytes that were there already.
    pub bytes_duplicate: u64,
}

/// The parsers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ParserStats {
    /// Connections whose protocol was found.
    pub detected: u64,
    /// Connections whose protocol could not be found, so far.
    pub undetected: u64,
    /// Records emitted.
    pub records: u64,
    /// Messages that were not what their protocol allows.
    pub malformed: u64,
    /// Bytes that parsers passed over: after a gap, after something malformed, or on a connection
    /// of unknown protocol.
    pub bytes_skipped: u64,
}

/// One sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SinkStats {
    /// Records that the sink accepted.
    pub emitted: u64,
    /// Records dropped because its queue was full.
    pub dropped_queue_full: u64,
    /// Records dropped because it returned an error.
    pub dropped_failed: u64,
    /// Records dropped because it had panicked.
    pub dropped_panicked: u64,
    /// The last error that it returned.
    pub last_error: Option<String>,
}

impl Stats {
    /// Adds to the account of what was lost.
    pub fn add_lost(&mut self, stage: Stage, cause: Cause, count: u64, bytes: u64) {
        match self.lost.iter_mut().find(|lost| lost.stage == stage && lost.cause == cause) {
            Some(lost) => {
                lost.count += count;
                lost.bytes += bytes;
            }
            None => self.lost.push(LostStats { stage, cause, count, bytes }),
        }
    }

    /// Everything lost at `stage`, in its units, whatever the cause.
    #[must_use]
    pub fn lost_at(&self, stage: Stage) -> u64 {
        self.lost.iter().filter(|lost| lost.stage == stage).map(|lost| lost.count).sum()
    }
}
