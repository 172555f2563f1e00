//! Live capture: a backend that is attached, and its rings, merged by time.

use crate::abi::{self, VERDICT_IGNORE, VERDICT_INTRODUCE};
use crate::error::{ProbeError, chain};
use crate::event::{Counters, Event, EventSource, Open};
use crate::kernel;
use crate::load::{Loaded, is_memory_lock};
use crate::options::{Backend, CaptureOptions, Report, Uprobes};
use crate::ring::Ring;
use crate::sys;
use crate::tls::{Known, Tracker};
use aya::Btf;
use aya::maps::{HashMap, MapData};
use pixie_core::id::{ConnectionId, Pid};
use pixie_core::time::MonotonicTime;
use std::collections::HashSet;
use std::path::PathBuf;

/// An event is sure to be in its ring this long after its time: programs take the time, then write,
/// and are not interrupted for long. Younger events wait, so that rings can be merged by time.
const SETTLE_NS: u64 = 1_000_000;

/// The present, by the clock that events are stamped with.
#[must_use]
pub fn monotonic_now() -> MonotonicTime {
    MonotonicTime(sys::monotonic_ns())
}

/// Socket traffic of the machine, as it happens.
///
/// Dropping it detaches everything; so does the end of the process, however it comes about, because
/// the kernel holds the programs for our descriptors' sake alone.
pub struct Capture {
    loaded: Loaded,
    verdicts: HashMap<MapData, u64, u8>,
    report: Report,
    merge: Merge,
    excluded: Excluded,
    tls: Option<Tracker>,
}

impl Capture {
    /// Loads and attaches the backend that `options` name, or the cheapest that works.
    ///
    /// # Errors
    /// [`ProbeError`] tells what is missing: privileges, a kernel feature, memory.
    pub fn start(options: &CaptureOptions) -> Result<Self, ProbeError> {
        kernel::check()?;
        let release = kernel::release();
        if !kernel::is_at_least(5, 11) {
            // If that is not allowed, the limit may still be high enough: making the maps will tell.
            drop(sys::lift_memory_lock_limit());
        }
        let btf = kernel::types()?;
        let running = running(&options.filter.exclude_executables);
        let mut options = options.clone();
        options.filter.exclude_pids.extend(&running);
        let (backend, mut loaded, mut notes) = climb(&options, &btf)?;
        let (uprobes, tls) = start_tls(&mut loaded, &btf, &options, &mut notes)?.unzip();
        let report = Report {
            kernel: release,
            backend,
            attachments: std::mem::take(&mut loaded.attachments),
            uprobes,
            tls: Vec::new(),
            notes,
        };
        let verdicts = loaded
            .take_verdicts()
            .map_err(|source| ProbeError::Kernel { action: "opening the verdict map", source })?;
        Ok(Self {
            loaded,
            verdicts,
            report,
            merge: Merge::default(),
            excluded: Excluded::new(&options.filter.exclude_executables, running),
            tls,
        })
    }

    /// What is attached now, what is not, and why.
    #[must_use]
    pub fn report(&self) -> Report {
        self.reporter().report()
    }

    /// Tells the same later, when the capture is in use elsewhere: more TLS libraries are found as
    /// processes come.
    #[must_use]
    pub fn reporter(&self) -> Reporter {
        Reporter {
            report: self.report.clone(),
            tls: self.tls.as_ref().map(|tls| tls.known().clone()),
        }
    }
}

/// Tells what a [`Capture`] has attached.
#[derive(Clone)]
pub struct Reporter {
    report: Report,
    tls: Option<Known>,
}

impl Reporter {
    /// What is attached now, what is not, and why.
    #[must_use]
    pub fn report(&self) -> Report {
        let tls = self.tls.as_ref().map_or_else(Vec::new, Known::files);
        Report { tls, ..self.report.clone() }
    }
}

impl std::fmt::Debug for Reporter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.report().fmt(formatter)
    }
}

/// Loads the programs for TLS libraries, where they are asked for, and starts to look for those. That
/// they cannot be had is an error only where it was said how they are to be attached.
fn start_tls(
    loaded: &mut Loaded,
    btf: &Btf,
    options: &CaptureOptions,
    notes: &mut Vec<String>,
) -> Result<Option<(Uprobes, Tracker)>, ProbeError> {
    if options.tls.is_empty() {
        return Ok(None);
    }
    let started = loaded.tls_programs(options.uprobes, btf, notes).and_then(|programs| {
        let uprobes = programs.uprobes();
        let marks = loaded.take_tls_processes()?;
        let CaptureOptions { filter, tls, include_self, .. } = options;
        let tracker = Tracker::start(programs, marks, *tls, filter, *include_self)?;
        Ok((uprobes, tracker))
    });
    match started {
        Ok(started) => Ok(Some(started)),
        Err(error) if options.uprobes == Uprobes::Auto => {
            notes.push(format!("no TLS library is probed: {}", chain(&*error)));
            Ok(None)
        }
        Err(source) => Err(ProbeError::Kernel {
            action: "loading the programs for TLS libraries in the way that was asked for",
            source,
        }),
    }
}

impl std::fmt::Debug for Capture {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Capture").field("report", &self.report).finish_non_exhaustive()
    }
}

/// Tries the backends that `options` allow, cheapest first. Returns also why others were passed over.
fn climb(
    options: &CaptureOptions,
    btf: &Btf,
) -> Result<(Backend, Loaded, Vec<String>), ProbeError> {
    let ladder = match &options.backend {
        Backend::Auto => &Backend::LADDER[..],
        one => std::slice::from_ref(one),
    };
    let mut refused = Vec::new();
    for &backend in ladder {
        match Loaded::new(backend, options, btf) {
            Ok(loaded) => {
                let notes = refused
                    .iter()
                    .map(|(backend, why)| format!("the {backend} backend was passed over: {why}"))
                    .collect();
                return Ok((backend, loaded, notes));
            }
            Err(error) if is_memory_lock(&*error) => {
                return Err(ProbeError::MemoryLockLimit(std::io::Error::other(error)));
            }
            Err(error) => match error.downcast::<ProbeError>() {
                Ok(error) => return Err(*error),
                Err(source) if ladder.len() == 1 => {
                    return Err(ProbeError::Backend { backend, source });
                }
                Err(source) => refused.push((backend, chain(&*source))),
            },
        }
    }
    Err(ProbeError::NothingAttached { refused })
}

impl EventSource for Capture {
    fn poll(&mut self, finish: bool, handler: &mut dyn FnMut(Event<'_>)) -> usize {
        let until = if finish { u64::MAX } else { sys::monotonic_ns().saturating_sub(SETTLE_NS) };
        let Self { loaded, merge, excluded, tls, .. } = self;
        let known = tls.as_ref().map(Tracker::known);
        if excluded.executables.is_empty() && known.is_none() {
            return merge.drain(&mut loaded.rings, until, handler);
        }
        let seen = merge.drain(&mut loaded.rings, until, &mut |event| {
            if !excluded.passes(&event) {
                return;
            }
            match (event, known) {
                (Event::Secure(secure), Some(known)) => {
                    let mut secure = secure.clone();
                    known.name(&mut secure);
                    handler(Event::Secure(&secure));
                }
                (event, _) => handler(event),
            }
        });
        for pid in excluded.newly_excluded.drain(..) {
            // Were it to fail, the process's events would go on being dropped here.
            drop(loaded.exclude(pid.0));
        }
        for pid in excluded.ended.drain(..) {
            loaded.include(pid.0);
        }
        seen
    }

    fn ignore(&mut self, connection: ConnectionId) {
        // The map forgets the least recently used, so it is never full; were it to fail, the
        // connection's bytes would go on coming, which is harmless.
        drop(self.verdicts.insert(connection.0, VERDICT_IGNORE, 0));
    }

    fn heed(&mut self, connection: ConnectionId) {
        // The map may have forgotten it already.
        drop(self.verdicts.remove(&connection.0));
    }

    fn forget(&mut self, connection: ConnectionId) {
        drop(self.verdicts.insert(connection.0, VERDICT_INTRODUCE, 0));
    }

    fn counters(&mut self) -> Counters {
        let mut counters = Counters {
            seen: self.merge.seen,
            malformed: self.merge.malformed,
            missed: self.loaded.missed(),
            ..Counters::default()
        };
        for [reserved, dropped, dropped_bytes, captured, unmatched, unproven, ..] in
            self.loaded.account().unwrap_or([[0; abi::COUNTERS]; abi::COUNTER_SLOTS])
        {
            counters.reserved += reserved;
            counters.dropped += dropped;
            counters.dropped_bytes += dropped_bytes;
            counters.captured_bytes += captured;
            counters.unmatched_calls += unmatched;
            counters.unproven_calls += unproven;
        }
        counters
    }

    fn detach(&mut self) {
        // Side by side: both wait for the kernel.
        let Self { loaded, tls, .. } = self;
        std::thread::scope(|scope| {
            if let Some(tls) = tls {
                scope.spawn(|| tls.stop());
            }
            loaded.detach();
        });
    }
}

/// Takes records from several rings in the order of their times.
#[derive(Default)]
struct Merge {
    seen: u64,
    malformed: u64,
}

impl Merge {
    /// Hands over everything up to the time `until`.
    fn drain(
        &mut self,
        rings: &mut [Ring],
        until: u64,
        handler: &mut dyn FnMut(Event<'_>),
    ) -> usize {
        let before = self.seen;
        let mut heads: Vec<u64> = rings.iter_mut().map(head).collect();
        while let Some((first, limit)) = earliest(&heads, until) {
            let Some((ring, next)) = rings.get_mut(first).zip(heads.get_mut(first)) else { break };
            // It keeps its turn until another ring's head is earlier.
            while *next <= limit {
                let Some(record) = ring.peek() else { break };
                self.seen += 1;
                if abi::decode(record, &mut *handler).is_none() {
                    self.malformed += 1;
                }
                ring.advance();
                *next = head(ring);
            }
        }
        rings.iter_mut().for_each(Ring::commit);
        (self.seen - before) as usize
    }
}

/// The time of the ring's next record; that of an empty ring is the end of time.
fn head(ring: &mut Ring) -> u64 {
    // A record too short to have a time is let through at once, to be counted as malformed.
    ring.peek().map_or(u64::MAX, |record| abi::time_of(record).unwrap_or(0).min(u64::MAX - 1))
}

/// Which head is the earliest, if it is not after `until`, and how long it stays so.
fn earliest(heads: &[u64], until: u64) -> Option<(usize, u64)> {
    let (first, time) = heads.iter().enumerate().min_by_key(|(_, time)| **time)?;
    if *time > until || *time == u64::MAX {
        return None;
    }
    let others = heads.iter().enumerate().filter(|(index, _)| *index != first);
    let second = others.map(|(_, time)| *time).min().unwrap_or(u64::MAX);
    Some((first, second.min(until).min(u64::MAX - 1)))
}

/// The processes that run one of these executables.
fn running(executables: &[PathBuf]) -> HashSet<Pid> {
    if executables.is_empty() {
        return HashSet::new();
    }
    let Ok(processes) = std::fs::read_dir("/proc") else { return HashSet::new() };
    processes
        .filter_map(|process| process.ok()?.file_name().to_str()?.parse().ok().map(Pid))
        .filter(|pid| runs(*pid, executables))
        .collect()
}

/// Whether a process runs one of these executables. Not known of one that has ended.
fn runs(pid: Pid, executables: &[PathBuf]) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| executables.contains(&path))
}

/// Processes that are passed over because of what they run. The kernel drops those that run when
/// the capture starts. The first transfer of others is seen here, and dropped; from then on the
/// kernel drops them itself.
struct Excluded {
    executables: Vec<PathBuf>,
    connections: HashSet<ConnectionId>,
    pids: HashSet<Pid>,
    newly_excluded: Vec<Pid>,
    ended: Vec<Pid>,
}

impl Excluded {
    fn new(executables: &[PathBuf], pids: HashSet<Pid>) -> Self {
        Self {
            executables: executables.to_vec(),
            connections: HashSet::new(),
            pids,
            newly_excluded: Vec::new(),
            ended: Vec::new(),
        }
    }

    fn passes(&mut self, event: &Event<'_>) -> bool {
        match event {
            Event::Open(open) => !self.open(open),
            Event::Data(data) => !self.connections.contains(&data.connection),
            Event::Close(close) => !self.connections.remove(&close.connection),
            Event::Secure(secure) => {
                let excluded = self.excludes(secure.pid);
                if excluded {
                    self.connections.insert(secure.session);
                }
                !excluded
            }
            Event::Exit { pid, .. } => {
                if self.pids.remove(pid) {
                    self.ended.push(*pid);
                }
                true
            }
        }
    }

    /// True when the process is excluded; the kernel is told so.
    fn excludes(&mut self, pid: Pid) -> bool {
        let excluded = !self.executables.is_empty() && runs(pid, &self.executables);
        if excluded && self.pids.insert(pid) {
            self.newly_excluded.push(pid);
        }
        excluded
    }

    /// True when the process that opened it is excluded.
    fn open(&mut self, open: &Open) -> bool {
        let excluded = self.excludes(open.pid);
        if excluded {
            self.connections.insert(open.connection);
        } else {
            self.connections.remove(&open.connection);
        }
        excluded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_ring_keeps_its_turn_until_another_is_earlier() {
        assert_eq!(earliest(&[5, 3, 9], 100), Some((1, 5)));
        assert_eq!(earliest(&[5, 3, 9], 4), Some((1, 4)));
        assert_eq!(earliest(&[5, 3, 9], 2), None, "too young");
        assert_eq!(earliest(&[u64::MAX, u64::MAX], u64::MAX), None, "all empty");
        assert_eq!(earliest(&[7], u64::MAX), Some((0, u64::MAX - 1)), "a single ring");
    }
}
