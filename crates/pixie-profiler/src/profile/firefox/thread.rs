use super::super::json::{Object, OrNull, Quoted};
use super::super::{Measure, Owner};
use super::milliseconds;
use std::collections::HashMap;
use std::io;
use std::ops::Range;

/// A thread as the profiler shows it, or what is shown as one.
pub(super) struct Thread {
    name: String,
    process: String,
    pid: String,
    tid: String,
    is_main: bool,
    /// By interval, in the order of time.
    samples: Vec<(Range<u64>, Vec<Sample>)>,
    weight: u64,
}

/// What was sampled of a stack in an interval.
pub(super) struct Sample {
    pub(super) stack: Option<u64>,
    pub(super) weight: u64,
    /// In nanoseconds.
    pub(super) cpu_time: u64,
}

impl Thread {
    /// One that is called `group`, and is of a process where that is known.
    pub(super) fn of(group: &str, owner: Option<&Owner>) -> Self {
        let (process, pid, tid, is_main) = match owner {
            Some(Owner { comm, pid, thread }) => {
                (comm.to_string(), pid.to_string(), thread.to_string(), pid == thread)
            }
            None => (group.to_owned(), group.to_owned(), group.to_owned(), true),
        };
        let name = if is_main { process.clone() } else { group.to_owned() };
        Self { name, process, pid, tid, is_main, samples: Vec::new(), weight: 0 }
    }

    pub(super) fn add(&mut self, span: Range<u64>, sample: Sample) {
        self.weight = self.weight.saturating_add(sample.weight);
        match self.samples.last_mut() {
            Some((last, samples)) if *last == span => samples.push(sample),
            _ => self.samples.push((span, vec![sample])),
        }
    }

    /// Writes it. Times are counted from `start`, in nanoseconds.
    pub(super) fn write<W: io::Write>(
        &self,
        thread: &mut Object<'_, W>,
        measure: Measure,
        start: u64,
    ) -> io::Result<()> {
        thread.member("name", Quoted(&self.name))?;
        thread.member("isMainThread", self.is_main)?;
        thread.member("processName", Quoted(&self.process))?;
        thread.member("processType", Quoted("default"))?;
        thread.member("pid", Quoted(&self.pid))?;
        thread.member("tid", Quoted(&self.tid))?;
        thread.member("processStartupTime", 0)?;
        thread.member("processShutdownTime", OrNull::<u64>(None))?;
        thread.member("registerTime", 0)?;
        thread.member("unregisterTime", OrNull::<u64>(None))?;
        thread.list("pausedRanges", [0; 0])?;
        thread.object("markers", |table| {
            table.member("length", 0)?;
            ["data", "name", "startTime", "endTime", "phase", "category"]
                .into_iter()
                .try_for_each(|column| table.list(column, [0; 0]))
        })?;
        thread.object("samples", |table| self.write_samples(table, measure, start))
    }

    fn write_samples<W: io::Write>(
        &self,
        table: &mut Object<'_, W>,
        measure: Measure,
        start: u64,
    ) -> io::Result<()> {
        let rows = self.rows(start);
        table.member("length", rows.len())?;
        table.list("time", rows.iter().map(|(time, _)| time))?;
        table.list("stack", rows.iter().map(|(_, sample)| OrNull(sample.stack)))?;
        let kind = match measure {
            Measure::Samples | Measure::Waits => "samples",
            Measure::CpuTime | Measure::BlockedTime => "tracing-ms",
        };
        table.member("weightType", Quoted(kind))?;
        let weights = rows.iter().map(|(_, sample)| match measure {
            Measure::Samples | Measure::Waits => sample.weight as f64,
            Measure::CpuTime | Measure::BlockedTime => milliseconds(sample.weight),
        });
        table.list("weight", weights)?;
        if matches!(measure, Measure::Samples | Measure::CpuTime) {
            let microseconds = rows.iter().map(|(_, sample)| sample.cpu_time as f64 / 1e3);
            table.list("threadCPUDelta", microseconds)?;
        }
        Ok(())
    }

    /// All samples with their times in milliseconds. Each stands for the time since the one before, in
    /// which CPU time is what it used; so a sample without a stack ends the time before an interval.
    fn rows(&self, start: u64) -> Vec<(f64, &Sample)> {
        const NOTHING: &Sample = &Sample { stack: None, weight: 0, cpu_time: 0 };
        const MILLISECOND: u64 = 1_000_000;
        let mut rows = Vec::new();
        let mut last_end = 0_u64;
        for (span, samples) in &self.samples {
            let begin = span.start.saturating_sub(start);
            // Where it is not known how long it was, it was not nothing.
            let length = span.end.saturating_sub(span.start).max(MILLISECOND);
            if begin > last_end.saturating_add(MILLISECOND) {
                rows.push((milliseconds(begin), NOTHING));
            }
            last_end = begin.saturating_add(length);
            let all: f64 = samples.iter().map(|sample| sample.weight as f64).sum();
            let mut told = 0.0;
            for sample in samples {
                told += sample.weight as f64;
                let part = told / all.max(1.0);
                rows.push((milliseconds(begin) + part * milliseconds(length), sample));
            }
        }
        rows.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        rows
    }
}

/// Brings them into the order in which they are shown: the process with most first, in it the main
/// thread, then the thread with most. No two have the same id, nor are two the main thread of a process:
/// where one went by several names, the first is.
pub(super) fn in_order(mut threads: Vec<Thread>) -> Vec<Thread> {
    let mut of_process: HashMap<String, u64> = HashMap::new();
    for thread in &threads {
        let sum = of_process.entry(thread.pid.clone()).or_default();
        *sum = sum.saturating_add(thread.weight);
    }
    let process = |thread: &Thread| of_process.get(&thread.pid).copied().unwrap_or_default();
    threads.sort_by(|a, b| {
        let by_process = process(b).cmp(&process(a)).then_with(|| a.pid.cmp(&b.pid));
        let by_thread = b.is_main.cmp(&a.is_main).then_with(|| b.weight.cmp(&a.weight));
        by_process.then(by_thread).then_with(|| a.tid.cmp(&b.tid))
    });
    let mut seen: HashMap<String, u32> = HashMap::new();
    let mut last_main = None;
    for thread in &mut threads {
        thread.is_main &= last_main.as_ref() != Some(&thread.pid);
        if thread.is_main {
            last_main = Some(thread.pid.clone());
        }
        let again = seen.entry(thread.tid.clone()).or_default();
        if *again > 0 {
            thread.tid = format!("{}.{again}", thread.tid);
        }
        *again += 1;
    }
    threads
}
