use crate::record::{Cause, Stage};
use std::borrow::Cow;
use std::fmt;

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
    /// Plaintext from inside TLS libraries.
    pub tls: TlsStats,
    /// The profiler.
    pub profile: ProfileStats,
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

/// Plaintext from inside TLS libraries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TlsStats {
    /// Sessions seen. Each is also counted as a connection.
    pub sessions: u64,
    /// Of them, those of which it is known which connection carries them.
    pub sessions_on_connections: u64,
    /// Those whose handshake was not seen to begin: they were under way when their library was probed,
    /// and what they said before is missing. Each is also told of as lost, without a number of bytes,
    /// by [`Cause::BeforeTracing`].
    pub sessions_joined: u64,
    /// Calls of a library's functions that were seen to return, but not to begin, because they were
    /// under way when the function was probed: their bytes are not known.
    pub calls_unmatched: u64,
    /// Calls of a library's functions that were not understood, because their arguments and results were
    /// not what they are in the versions that are known: their bytes are not known, and what follows
    /// is told of as a session that was joined. Each is also told of as lost, by
    /// [`Cause::Unobserved`].
    pub calls_unproven: u64,
}

/// Sampled call stacks.
///
/// Once the session has stopped, the counts of all [`Stack`](crate::record::Stack) records,
/// `dropped` and `passed_over` are together what `samples` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct ProfileStats {
    /// Stacks that were taken: of CPUs that were not idle, and of threads that waited.
    pub samples: u64,
    /// Those of them that were dropped in the kernel, for whatever cause.
    pub dropped: u64,
    /// Those of them of which no record was made: of executables that are not to be told of, and
    /// what could not be named before the session had to stop. The latter is also in
    /// [`lost`](Stats::lost), and told of in-band.
    pub passed_over: u64,
    /// Records that were made of the others.
    pub records: u64,
    /// Stacks that were followed to the function that their thread began with.
    pub complete: u64,
    /// Stacks that were cut before, by cause.
    pub cut: Vec<CauseStats>,
    /// Frames of records that have a name.
    pub named: u64,
    /// Frames of records that have none, by cause.
    pub unnamed: Vec<CauseStats>,
    /// Frames that were found by frame pointer, for want of unwind information.
    pub by_frame_pointer: u64,
    /// Processes that were looked at.
    pub processes: u64,
    /// Processes that were not, because too many were known.
    pub processes_refused: u64,
    /// Files whose unwind information was read.
    pub files: u64,
    /// Files whose unwind information could not be read.
    pub files_failed: u64,
    /// How often a process had mapped a file that was not opened, because too many are open; its code is
    /// followed by frame pointers.
    pub files_refused: u64,
    /// Files whose unwind information was given up, to make room for that of others.
    pub files_evicted: u64,
    /// Rows of unwind tables in the kernel now.
    pub rows: u64,
}

/// How often something came about for one cause.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct CauseStats {
    /// The cause.
    pub cause: Cow<'static, str>,
    /// How often.
    pub count: u64,
}

impl CauseStats {
    /// So often, for this cause.
    pub fn new(cause: impl Into<Cow<'static, str>>, count: u64) -> Self {
        Self { cause: cause.into(), count }
    }
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

impl fmt::Display for Stats {
    /// A readable account, one line a part.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { capture, connections, stream, parser, tls, profile, sinks, lost } = self;
        let traffic_was_captured = profile.samples == 0 || *capture != CaptureStats::default();
        let mut lines = Vec::new();
        if traffic_was_captured {
            lines.push(format!("capture      {capture}"));
            lines.push(format!("connections  {connections}"));
            lines.push(format!("stream       {stream}"));
            lines.push(format!("parser       {parser}"));
        }
        if *tls != TlsStats::default() {
            lines.push(format!("tls          {tls}"));
        }
        if profile.samples > 0 {
            lines.push(format!("profile      {profile}"));
        }
        formatter.write_str(&lines.join("\n"))?;
        for (index, sink) in sinks.iter().enumerate() {
            write!(formatter, "\nsink {index:<7} {sink}")?;
        }
        for LostStats { stage, cause, count, bytes } in lost {
            write!(formatter, "\nlost         {count} in {stage}: {cause}, {bytes} bytes")?;
        }
        Ok(())
    }
}

impl fmt::Display for CaptureStats {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events_seen, events_reserved, events_dropped, bytes_captured, .. } = self;
        write!(
            formatter,
            "{events_seen} of {events_reserved} events seen, {events_dropped} dropped \
             ({} bytes), {bytes_captured} bytes captured, {} probes missed, {} events malformed",
            self.bytes_dropped, self.probes_missed, self.events_malformed
        )
    }
}

impl fmt::Display for ConnectionStats {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { opened, closed, evicted, open, memory } = self;
        write!(
            formatter,
            "{opened} opened, {closed} closed, {evicted} evicted, {open} open in {memory} bytes"
        )
    }
}

impl fmt::Display for StreamStats {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes_total, bytes_delivered, bytes_in_gaps, gaps, .. } = self;
        write!(
            formatter,
            "{bytes_delivered} of {bytes_total} bytes delivered, {bytes_in_gaps} in {gaps} gaps, \
             {} segments out of order, {} bytes duplicate",
            self.out_of_order, self.bytes_duplicate
        )
    }
}

impl fmt::Display for ParserStats {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { detected, undetected, records, malformed, bytes_skipped } = self;
        write!(
            formatter,
            "{records} records, {detected} connections detected and {undetected} not, \
             {malformed} messages malformed, {bytes_skipped} bytes skipped"
        )
    }
}

impl fmt::Display for TlsStats {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sessions, sessions_on_connections, sessions_joined, .. } = self;
        let Self { calls_unmatched, calls_unproven, .. } = self;
        write!(
            formatter,
            "{sessions} sessions, {sessions_on_connections} on a connection that is known, \
             {sessions_joined} not seen from their beginning, {calls_unmatched} calls were under way before, \
             {calls_unproven} were not understood"
        )
    }
}

impl fmt::Display for ProfileStats {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { samples, dropped, records, complete, cut, named, unnamed, .. } = self;
        let list = |causes: &[CauseStats]| {
            let causes: Vec<_> = causes
                .iter()
                .map(|CauseStats { cause, count }| format!("{count} {cause}"))
                .collect();
            if causes.is_empty() { String::new() } else { format!(" ({})", causes.join(", ")) }
        };
        let sum = |causes: &[CauseStats]| causes.iter().map(|cause| cause.count).sum::<u64>();
        write!(
            formatter,
            "{samples} samples in {records} records, {dropped} dropped; {complete} stacks \
             complete, {} cut{}; {named} frames named, {} not{}; {} processes, {} files",
            sum(cut),
            list(cut),
            sum(unnamed),
            list(unnamed),
            self.processes,
            self.files,
        )?;
        for (count, what) in [
            (self.files_failed, "files failed"),
            (self.files_refused, "files refused"),
            (self.files_evicted, "files given up"),
            (self.processes_refused, "processes refused"),
        ] {
            if count > 0 {
                write!(formatter, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for SinkStats {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { emitted, dropped_queue_full, dropped_failed, dropped_panicked, .. } = self;
        write!(
            formatter,
            "{emitted} records, dropped: {dropped_queue_full} queue full, {dropped_failed} \
             failed, {dropped_panicked} panicked"
        )?;
        match &self.last_error {
            Some(error) => write!(formatter, "; last error: {error}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_add_up_by_stage_and_cause() {
        let mut stats = Stats::default();
        stats.add_lost(Stage::Kernel, Cause::RingFull, 2, 300);
        stats.add_lost(Stage::Kernel, Cause::RingFull, 1, 50);
        stats.add_lost(Stage::Kernel, Cause::ProbeMissed, 4, 0);
        stats.add_lost(Stage::Sink, Cause::QueueFull, 9, 0);
        assert_eq!(stats.lost_at(Stage::Kernel), 7);
        assert_eq!(stats.lost.len(), 3);
        assert_eq!(stats.lost[0].bytes, 350);
    }

    #[test]
    fn the_account_names_every_sink_and_every_loss() {
        let mut stats = Stats::default();
        stats.capture.events_seen = 10;
        stats.capture.events_reserved = 12;
        stats.sinks.push(SinkStats {
            emitted: 5,
            dropped_failed: 1,
            last_error: Some("the disk is full".to_owned()),
            ..SinkStats::default()
        });
        stats.add_lost(Stage::Kernel, Cause::RingFull, 2, 300);
        stats.profile.samples = 7;
        stats.profile.cut = vec![CauseStats::new("depth", 2), CauseStats::new("bad_frame", 1)];
        let text = stats.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 7, "{text}");
        assert!(lines[0].starts_with("capture      10 of 12 events seen"), "{text}");
        assert!(lines[4].contains("; 0 stacks complete, 3 cut (2 depth, 1 bad_frame);"), "{text}");
        assert!(lines[5].starts_with("sink 0       5 records"), "{text}");
        assert!(lines[5].ends_with("last error: the disk is full"), "{text}");
        assert_eq!(lines[6], "lost         2 in kernel: ring_full, 300 bytes");
    }
}
