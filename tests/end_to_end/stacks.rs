//! Samples call stacks, and holds them against what programs say of themselves.

use crate::process::Running;
use crate::runner::{Setup, Skip, skip};
use pixie::record::{Frame, Stack, StackState};
use pixie::{Interest, Profiling, Record, RecordKind, Report, Sink as _, Stats, Tracer};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Sampling under way.
pub(crate) struct Sampling {
    session: pixie::Session,
    stacks: Arc<Mutex<Vec<Stack>>>,
}

/// What was sampled. When a test fails, the account is shown.
pub(crate) struct Sampled {
    pub(crate) stacks: Vec<Stack>,
    pub(crate) stats: Stats,
    pub(crate) report: Report,
}

impl Sampling {
    /// Starts to sample these processes; all when there are none.
    pub(crate) fn start(
        setup: &Setup,
        profiling: impl Into<Profiling>,
        pids: &[u32],
    ) -> Result<Self, Skip> {
        let tracer = pids.iter().fold(Tracer::new(), |tracer, pid| tracer.pid(*pid));
        let tracer = tracer.stop_timeout(setup.patience(Duration::from_secs(20)));
        Ok(Self::of(tracer.profiler(profiling)))
    }

    /// Starts a tracer that samples.
    pub(crate) fn of(tracer: Tracer) -> Self {
        let stacks = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&stacks);
        let sink = pixie::sinks::each(move |record: &Record| {
            if let Record::Stack(stack) = record {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push((**stack).clone());
            }
        });
        let sink = sink.only(Interest::none().with(RecordKind::Stack).with(RecordKind::Lost));
        let session = tracer.queue_records(1 << 20).queue_bytes(1 << 30).sink(sink).start();
        Self { session: session.unwrap_or_else(|error| panic!("{error}")), stacks }
    }

    /// How many of these samples have become records.
    pub(crate) fn count(&self, wanted: &dyn Fn(&Stack) -> bool) -> u64 {
        let stacks = self.stacks.lock().unwrap_or_else(PoisonError::into_inner);
        stacks.iter().filter(|stack| wanted(stack)).map(|stack| stack.count).sum()
    }

    /// Samples for so long, and stops.
    pub(crate) fn go_on_for(self, duration: Duration) -> Sampled {
        std::thread::sleep(duration);
        self.stop()
    }

    /// Samples until there are so many, but not for longer than `limit`, and stops.
    pub(crate) fn until(self, samples: u64, limit: Duration) -> Sampled {
        self.until_there_are(samples, &|_| true, limit)
    }

    /// The same, of samples that `wanted` says.
    pub(crate) fn until_there_are(
        self,
        samples: u64,
        wanted: &dyn Fn(&Stack) -> bool,
        limit: Duration,
    ) -> Sampled {
        self.wait_for(samples, wanted, limit);
        self.stop()
    }

    /// Waits until there are so many samples that `wanted` says, but not for longer than `limit`. False
    /// when there are not.
    pub(crate) fn wait_for(
        &self,
        samples: u64,
        wanted: &dyn Fn(&Stack) -> bool,
        limit: Duration,
    ) -> bool {
        let began = Instant::now();
        while self.count(wanted) < samples && began.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(50));
        }
        self.count(wanted) >= samples
    }

    pub(crate) fn stop(self) -> Sampled {
        let report = self.session.report().clone();
        let stats = self.session.stop().unwrap_or_else(|error| panic!("{error}"));
        let stacks =
            std::mem::take(&mut *self.stacks.lock().unwrap_or_else(PoisonError::into_inner));
        let sampled = Sampled { stacks, stats, report };
        sampled.check_account();
        sampled
    }
}

impl Sampled {
    /// What holds of every session.
    fn check_account(&self) {
        let profile = &self.stats.profile;
        let told: u64 = self.stacks.iter().map(|stack| stack.count).sum();
        assert_eq!(
            profile.samples,
            told + profile.dropped + profile.passed_over,
            "samples that were taken, and that were told of or dropped"
        );
        assert_eq!(profile.records, self.stacks.len() as u64, "records made and received");
        for stack in &self.stacks {
            assert!(stack.count > 0 && !stack.frames.is_empty(), "{stack}");
            assert!(stack.time.0 > 0 && stack.interval > Duration::ZERO, "{stack}");
            let named = |frame: &Frame| frame.function.is_some() != frame.unknown.is_some();
            assert!(stack.frames.iter().all(named), "a name, or why there is none: {stack}");
        }
    }

    /// The stacks of a process.
    pub(crate) fn of(&self, pid: u32) -> impl Iterator<Item = &Stack> {
        self.stacks.iter().filter(move |stack| stack.process.pid.0 == pid)
    }

    /// The stacks of processes, from when these were known.
    pub(crate) fn known(&self) -> impl Iterator<Item = &Stack> {
        known(self.stacks.iter())
    }

    /// The share of samples, of those that `wanted` says, whose stack was not cut.
    pub(crate) fn whole(&self, wanted: impl Fn(&Stack) -> bool) -> Share {
        let mut share = Share::default();
        for stack in self.stacks.iter().filter(|stack| wanted(stack)) {
            share.add(stack.count, stack.cut.is_none(), || stack.to_string());
        }
        share
    }

    /// The share of frames, of samples that `wanted` says, that have a name.
    pub(crate) fn named(&self, wanted: impl Fn(&Stack) -> bool) -> Share {
        let mut share = Share::default();
        for stack in self.stacks.iter().filter(|stack| wanted(stack)) {
            for frame in &stack.frames {
                let describe = || format!("{:?} {:?} in {stack}", frame.unknown, frame.binary);
                share.add(stack.count, frame.function.is_some(), describe);
            }
        }
        share
    }
}

impl Drop for Sampled {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}\n{}", self.report, self.stats);
        }
    }
}

/// How many were right, and what those were like that were not.
#[derive(Default)]
pub(crate) struct Share {
    pub(crate) right: u64,
    pub(crate) total: u64,
    wrong: BTreeMap<String, u64>,
}

impl Share {
    pub(crate) fn add(&mut self, count: u64, right: bool, describe: impl FnOnce() -> String) {
        self.total += count;
        if right {
            self.right += count;
        } else {
            *self.wrong.entry(describe()).or_default() += count;
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.right += other.right;
        self.total += other.total;
        for (what, count) in &other.wrong {
            *self.wrong.entry(what.clone()).or_default() += count;
        }
    }

    pub(crate) fn percent(&self) -> f64 {
        100.0 * self.right as f64 / self.total.max(1) as f64
    }

    /// Panics unless there were at least so many, and so many of a thousand were right; one alone
    /// may be wrong of any number.
    pub(crate) fn expect(&self, what: &str, least: u64, per_thousand: u64) {
        let wrong = self.total - self.right;
        let enough = wrong <= 1 || self.right * 1000 >= self.total * per_thousand;
        if self.total < least || !enough {
            let mut examples: Vec<_> = self.wrong.iter().collect();
            examples.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            for (example, count) in examples.iter().take(12) {
                eprintln!("  {count} x {example}");
            }
            panic!("{what}: {wrong} of {} samples are wrong, of at least {least}", self.total);
        }
        println!("  {what}: {:.2}% of {}", self.percent(), self.total);
    }
}

/// A program that says in which chain of functions it spins.
pub(crate) struct Known {
    pub(crate) label: String,
    pub(crate) running: Running,
    chain: Vec<String>,
}

impl Known {
    /// Starts it, and waits until it spins.
    pub(crate) fn start(label: impl Into<String>, command: &mut Command) -> Result<Self, Skip> {
        let label = label.into();
        let mut running = Running::start(command);
        let mut chain = Vec::new();
        while let Some(line) = running.line() {
            match line.split_once(' ') {
                _ if line == "ready" => return Ok(Self { label, running, chain }),
                Some(("frame", name)) => chain.push(name.to_owned()),
                _ => chain.push(line),
            }
        }
        skip!("{label} does not start here")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Which of its samples have exactly the chain of functions that it says, and reach to the
    /// root.
    pub(crate) fn judge<'a>(&self, stacks: impl Iterator<Item = &'a Stack>) -> Share {
        self.judge_by(stacks, &|stack| stack.cut.is_none() && self.is_right(&names(stack)))
    }

    /// Which of its samples have exactly the chain of functions that it says, whether or not it is
    /// known what called the first of them.
    pub(crate) fn judge_functions<'a>(&self, stacks: impl Iterator<Item = &'a Stack>) -> Share {
        self.judge_by(stacks, &|stack| self.is_right(&names(stack)))
    }

    fn judge_by<'a>(
        &self,
        stacks: impl Iterator<Item = &'a Stack>,
        is_right: &dyn Fn(&Stack) -> bool,
    ) -> Share {
        let (mut share, mut nameless) = (Share::default(), Share::default());
        for stack in known(stacks).filter(|stack| stack.state == StackState::OnCpu) {
            let share = if is_nameless(stack) { &mut nameless } else { &mut share };
            share.add(stack.count, is_right(stack), || format!("{}: {stack}", self.label));
        }
        // One in twenty may be: more are a fault.
        if nameless.total * 20 > share.total {
            share.merge(&nameless);
        }
        share
    }

    /// Whether these are its functions, root first, after those that come before them.
    pub(crate) fn is_right(&self, names: &[String]) -> bool {
        let Some(first) = self.chain.first() else { return true };
        let Some(start) = names.iter().position(|name| is_named(name, first)) else { return false };
        matches(&self.chain, &names[start..])
    }
}

/// Whether it was not known yet what the process has mapped.
pub(crate) fn is_of_unknown_process(stack: &Stack) -> bool {
    stack.cut.as_ref().is_some_and(|cut| *cut == "unknown_process")
}

/// Whether it was not known, when the frames were to be named, what the process had mapped: on a slow
/// machine that comes later than its unwind tables.
fn is_nameless(stack: &Stack) -> bool {
    let unknown = |frame: &Frame| {
        frame.unknown.as_ref().is_some_and(|cause| *cause == "the process was not known")
    };
    stack.frames.iter().filter(|frame| !frame.kernel).all(unknown)
}

/// Without what was sampled of a process before it was known: how soon that is depends on the machine's
/// load.
fn known<'a>(stacks: impl Iterator<Item = &'a Stack>) -> impl Iterator<Item = &'a Stack> {
    let stacks: Vec<_> = stacks.collect();
    let mut since = BTreeMap::new();
    for stack in stacks.iter().filter(|stack| !is_of_unknown_process(stack)) {
        since.entry(stack.process.pid).or_insert(stack.time);
    }
    stacks.into_iter().filter(move |stack| {
        let since = since.get(&stack.process.pid);
        !is_of_unknown_process(stack) || since.is_some_and(|since| stack.time > *since)
    })
}

/// The functions of the program, root first.
pub(crate) fn names(stack: &Stack) -> Vec<String> {
    let frames = stack.frames.iter().rev().filter(|frame| !frame.kernel);
    frames
        .map(|frame| frame.function.as_ref().map_or("?".to_owned(), ToString::to_string))
        .collect()
}

fn matches(chain: &[String], names: &[String]) -> bool {
    match (chain.split_first(), names.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some((any, rest)), _) if any == "any" => {
            (0..=names.len()).any(|skipped| matches(rest, &names[skipped..]))
        }
        (Some(_), None) => false,
        (Some((expected, chain)), Some((name, names))) => {
            (expected == "signal" || is_named(name, expected)) && matches(chain, names)
        }
    }
}

/// Compilers add to the names of functions that they changed.
fn is_named(name: &str, expected: &str) -> bool {
    let rest = name.strip_prefix(expected);
    rest.is_some_and(|rest| {
        let added = [".lto", ".part", ".cold", " [clone .", "::<"];
        rest.is_empty() || added.iter().any(|it| rest.starts_with(it))
    })
}
