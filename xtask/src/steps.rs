//! Steps: named, timed, and accounted for.

use anyhow::{Error, anyhow};
use std::collections::VecDeque;
use std::fmt;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What became of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Tally {
    /// What counts for a check that is not made of tests.
    pub(crate) const ONE: Self = Self { passed: 1, failed: 0, skipped: 0 };

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// What a line of a test program's output says; nothing for most lines.
    ///
    /// Understands Rust's own `test result: ok. 3 passed; 0 failed; 1 ignored; …` and our
    /// `3 passed, 0 failed, 1 skipped`.
    pub(crate) fn of_line(line: &str) -> Self {
        let (facts, separator) = match line.strip_prefix("test result: ") {
            Some(result) => (result.split_once(". ").map_or("", |(_, facts)| facts), "; "),
            None => (line, ", "),
        };
        let mut tally = Self::default();
        for fact in facts.split(separator) {
            let Some((count, what)) = fact.split_once(' ') else { return Self::default() };
            let place = match what {
                "passed" => &mut tally.passed,
                "failed" => &mut tally.failed,
                "ignored" | "skipped" => &mut tally.skipped,
                // Rust's further facts, none of which is a test that was run.
                _ if separator == "; " => continue,
                _ => return Self::default(),
            };
            let Ok(count) = count.parse() else { return Self::default() };
            *place = count;
        }
        tally
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(formatter, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// Why a step was not done to a good end.
pub(crate) enum Stop {
    Failed(Error),
    Skipped(String),
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What becomes of a step.
pub(crate) type Outcome = Result<Tally, Stop>;

/// Ends a step that cannot be done here, with the reason.
pub(crate) fn skip(reason: impl Into<String>) -> Outcome {
    Err(Stop::Skipped(reason.into()))
}

/// Where a step writes what it has to say.
#[derive(Clone, Default)]
pub(crate) struct Log {
    /// Here, to be shown as a whole when the step is done, as others are done beside it; else to
    /// standard output, as it comes.
    kept: Option<Sender<String>>,
    excerpt: Arc<Mutex<Excerpt>>,
}

impl Log {
    /// Writes a line.
    pub(crate) fn line(&self, line: &str) {
        self.excerpt.lock().unwrap_or_else(PoisonError::into_inner).add(line);
        match &self.kept {
            None => println!("{line}"),
            // Nobody listens any more when all is over.
            Some(lines) => drop(lines.send(line.to_owned())),
        }
    }

    fn excerpt(&self) -> Vec<String> {
        std::mem::take(&mut *self.excerpt.lock().unwrap_or_else(PoisonError::into_inner)).lines()
    }
}

/// Of what a step wrote, what says why it failed: its failures with what follows each panic, and its
/// last lines. That is shown again at the end, which is what is left of a log that was cut short.
#[derive(Default)]
struct Excerpt {
    failures: Vec<String>,
    last: VecDeque<String>,
    /// So many lines that come next belong to a failure.
    following: usize,
}

impl Excerpt {
    const FAILURES: usize = 40;
    const LAST: usize = 15;
    const BEHIND_PANIC: usize = 6;

    fn add(&mut self, line: &str) {
        if line.contains("panicked at ") {
            self.following = Self::BEHIND_PANIC;
        }
        let is_of_failure = self.following > 0 || line.contains("FAILED");
        self.following = self.following.saturating_sub(1);
        if is_of_failure && self.failures.len() < Self::FAILURES {
            self.failures.push(line.to_owned());
            return;
        }
        if self.last.len() == Self::LAST {
            self.last.pop_front();
        }
        self.last.push_back(line.to_owned());
    }

    fn lines(self) -> Vec<String> {
        self.failures.into_iter().chain(self.last).collect()
    }
}

/// A step that can be done beside others.
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) action: Box<dyn FnOnce(&Log) -> Outcome + Send>,
}

impl Job {
    fn run(self) -> Done {
        let (sender, lines) = mpsc::channel();
        let began = Instant::now();
        let log = Log { kept: Some(sender), ..Log::default() };
        let outcome = (self.action)(&log);
        let (excerpt, took) = (log.excerpt(), began.elapsed());
        drop(log);
        Done { name: self.name, lines: lines.iter().collect(), excerpt, outcome, took }
    }
}

/// A job that is done.
struct Done {
    name: String,
    lines: Vec<String>,
    excerpt: Vec<String>,
    outcome: Outcome,
    took: Duration,
}

/// The steps that were done.
#[derive(Default)]
pub(crate) struct Steps {
    lines: Vec<String>,
    /// What those wrote that failed.
    excerpts: Vec<String>,
    total: Tally,
}

impl Steps {
    /// Does a step, and notes what became of it.
    pub(crate) fn step(&mut self, name: &str, action: impl FnOnce(&Log) -> Outcome) {
        println!("\n=== {name}");
        let began = Instant::now();
        let log = Log::default();
        let outcome = action(&log);
        self.note(name, outcome, began.elapsed(), log.excerpt());
    }

    /// Does steps beside each other, so many at once, the first ones first. What each wrote is shown
    /// when it is done.
    pub(crate) fn at_once(&mut self, number: usize, jobs: Vec<Job>) {
        let count = jobs.len();
        let queue = Mutex::new(VecDeque::from(jobs));
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let (sender, finished) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..number.min(count) {
                let sender = sender.clone();
                scope.spawn(move || {
                    while let Some(job) = next() {
                        // Whoever counts them waits for all.
                        drop(sender.send(job.run()));
                    }
                });
            }
            drop(sender);
            let mut missing = count;
            for done in finished {
                println!("\n=== {}", done.name);
                done.lines.iter().for_each(|line| println!("{line}"));
                self.note(&done.name, done.outcome, done.took, done.excerpt);
                missing -= 1;
            }
            for _ in 0..missing {
                let panicked = Err(Stop::Failed(anyhow!("it panicked")));
                self.note("a step", panicked, Duration::ZERO, Vec::new());
            }
        });
    }

    /// Notes what became of a step.
    fn note(&mut self, name: &str, outcome: Outcome, took: Duration, excerpt: Vec<String>) {
        let before = self.total.failed;
        let mut excerpt = excerpt;
        let (word, tally, detail) = match outcome {
            Ok(tally) if tally.failed > 0 => ("FAILED", tally, tally.to_string()),
            Ok(tally) if tally == Tally::ONE => ("passed", tally, String::new()),
            Ok(tally) => ("passed", tally, tally.to_string()),
            Err(Stop::Skipped(reason)) => {
                println!("skipped: {reason}");
                ("skipped", Tally { skipped: 1, ..Tally::default() }, reason)
            }
            Err(Stop::Failed(error)) => {
                println!("failed: {error:#}");
                let text = format!("{error:#}");
                let line = text.lines().next().unwrap_or_default().to_owned();
                excerpt.extend(text.lines().map(str::to_owned));
                ("FAILED", Tally { failed: 1, ..Tally::default() }, line)
            }
        };
        self.total.add(tally);
        if self.total.failed > before {
            self.excerpts.push(format!("\n=== {name}, where it failed"));
            self.excerpts.append(&mut excerpt);
        }
        let took = seconds(took);
        let line = format!("{word:<8} {name:<28} {took:>8}  {detail}");
        self.lines.push(line.trim_end().to_owned());
    }

    /// Shows what those steps wrote that failed, what became of every step, and the sum alone on the
    /// last line. True when nothing failed.
    pub(crate) fn close(self) -> bool {
        self.excerpts.iter().for_each(|line| println!("{line}"));
        println!();
        for line in &self.lines {
            println!("{line}");
        }
        println!("\n{}", self.total);
        self.total.failed == 0
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::{Job, Log, Steps, Stop, Tally};
    use anyhow::anyhow;

    #[test]
    fn the_sums_of_both_kinds_of_test_program_are_understood() {
        let rust = "test result: ok. 23 passed; 1 failed; 2 ignored; 0 measured; 5 filtered out; \
                    finished in 0.05s";
        assert_eq!(Tally::of_line(rust), Tally { passed: 23, failed: 1, skipped: 2 });
        let ours = "12 passed, 3 failed, 4 skipped";
        assert_eq!(Tally::of_line(ours), Tally { passed: 12, failed: 3, skipped: 4 });
    }

    #[test]
    fn other_lines_say_nothing() {
        for line in ["", "running 3 tests", "1 passed, as we like to say", "skipped 3: no", "a, b"]
        {
            assert_eq!(Tally::of_line(line), Tally::default(), "{line}");
        }
    }

    #[test]
    fn what_failed_is_shown_again() {
        let mut steps = Steps::default();
        steps.step("long", |log| {
            log.line("thread 'a' panicked at a.rs:1:1:");
            (0..100).for_each(|number| log.line(&format!("line {number}")));
            log.line("test a ... FAILED");
            Err(Stop::Failed(anyhow!("it broke\nin pieces")))
        });
        let shown = steps.excerpts.join("\n");
        assert!(shown.contains("a.rs:1:1:\nline 0\n"), "{shown}");
        assert!(shown.contains("line 4\ntest a ... FAILED\nline 85\n"), "{shown}");
        assert!(shown.ends_with("line 99\nit broke\nin pieces"), "{shown}");
        assert!(steps.lines[0].ends_with("it broke"), "{}", steps.lines[0]);
    }

    #[test]
    fn what_passed_is_not_shown_again() {
        let mut steps = Steps::default();
        steps.step("good", |log| {
            log.line("it panicked at nothing");
            Ok(Tally::ONE)
        });
        assert!(steps.excerpts.is_empty());
    }

    #[test]
    fn what_steps_come_to_beside_each_other_is_added_up() {
        let job = |name: &str, action: fn(&Log) -> super::Outcome| Job {
            name: name.to_owned(),
            action: Box::new(action),
        };
        let mut steps = Steps::default();
        steps.at_once(
            2,
            vec![
                job("good", |log| {
                    log.line("all is well");
                    Ok(Tally { passed: 3, failed: 0, skipped: 1 })
                }),
                job("bad", |_| Err(Stop::Failed(anyhow!("it broke")))),
                job("absent", |_| super::skip("it is not here")),
            ],
        );
        assert_eq!(steps.total, Tally { passed: 3, failed: 1, skipped: 2 });
        assert_eq!(steps.lines.len(), 3);
    }
}
