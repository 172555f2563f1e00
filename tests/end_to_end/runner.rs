//! Runs tests one by one, and tells what became of each.

use crate::{backends, fetch, process};
use pixie::Backend;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Why a test cannot run here.
#[derive(Debug)]
pub(crate) struct Skip(pub(crate) String);

/// Leaves a test that cannot run here, with the reason.
macro_rules! skip {
    ($($reason:tt)*) => {
        return Err($crate::runner::Skip(format!($($reason)*)))
    };
}
pub(crate) use skip;

/// What became of a test that did not fail; failures are panics.
pub(crate) type Outcome = Result<(), Skip>;

/// A test.
pub(crate) struct Test {
    pub(crate) path: &'static str,
    pub(crate) scope: Scope,
    pub(crate) run: fn(&Setup) -> Outcome,
}

/// How often a test runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Once with each backend that this kernel loads.
    Core,
    /// Once.
    Once,
    /// Once, and only when long tests are asked for.
    Soak,
}

/// Declares the tests of a module: `core`, `once` or `soak`, and the functions.
macro_rules! tests {
    (@scope core) => { $crate::runner::Scope::Core };
    (@scope once) => { $crate::runner::Scope::Once };
    (@scope soak) => { $crate::runner::Scope::Soak };
    ($($scope:ident: $($function:ident),+;)+) => {
        pub(crate) const TESTS: &[$crate::runner::Test] = &[$($(
            $crate::runner::Test {
                path: concat!(module_path!(), "::", stringify!($function)),
                scope: $crate::runner::tests!(@scope $scope),
                run: $function,
            },
        )+)+];
    };
}
pub(crate) use tests;

/// Under which conditions a test runs.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The backend to capture with.
    pub(crate) backend: Backend,
    /// By how much this machine is slower than others.
    pub(crate) slow: u32,
}

impl Setup {
    /// How long to wait here for what takes at most `usual` elsewhere.
    pub(crate) fn patience(&self, usual: Duration) -> Duration {
        usual * self.slow
    }
}

/// What is asked for on the command line.
#[derive(Default)]
struct Options {
    list: bool,
    soak: bool,
    exact: bool,
    backend: Option<Backend>,
    filters: Vec<String>,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--list" => options.list = true,
                "--soak" => options.soak = true,
                "--exact" => options.exact = true,
                "--backend" => {
                    let name = arguments.next().ok_or("--backend wants a name")?;
                    options.backend = Some(name.parse().map_err(|error| format!("{error}"))?);
                }
                // What `cargo test` passes to every test binary alike, and is so here anyway.
                "--nocapture" | "--test-threads=1" | "--quiet" | "-q" => {}
                flag if flag.starts_with('-') => return Err(format!("no option {flag:?}")),
                filter => options.filters.push(filter.to_owned()),
            }
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        let matches = |filter: &String| {
            if self.exact { name == filter } else { name.contains(filter.as_str()) }
        };
        self.filters.is_empty() || self.filters.iter().any(matches)
    }
}

/// How long a test took.
struct Took {
    test: Duration,
    /// Before it, to fetch and to build what it needs.
    making: Duration,
}

impl fmt::Display for Took {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.1} s", self.test.as_secs_f64())?;
        if self.making.is_zero() {
            return Ok(());
        }
        write!(formatter, ", after {:.1} s to make what it needs", self.making.as_secs_f64())
    }
}

/// What became of all tests.
#[derive(Default)]
struct Tally {
    passed: u32,
    failed: Vec<String>,
    skipped: u32,
    /// How many were skipped for each reason.
    reasons: BTreeMap<String, u32>,
}

/// Runs the tests that are asked for, and returns the status to end with.
pub(crate) fn main<'a>(
    tests: impl Iterator<Item = &'a Test>,
    arguments: impl Iterator<Item = String>,
) -> i32 {
    let options = match Options::read(arguments) {
        Ok(options) => options,
        Err(error) => {
            eprintln!(
                "{error}\nend_to_end [--list] [--backend NAME] [--soak] [--exact] [FILTER]..."
            );
            return 2;
        }
    };
    let slow =
        std::env::var("PIXIE_TEST_SLOW").ok().and_then(|slow| slow.parse().ok()).unwrap_or(1);
    let mut tally = Tally::default();
    for test in tests {
        for (name, backend) in names(test, options.backend) {
            if !options.wants(&name) {
                continue;
            }
            if options.list {
                println!("{name}");
                continue;
            }
            let (began, before) = (Instant::now(), fetch::spent());
            let result = match test.scope {
                Scope::Soak if !options.soak => Ok(Err(Skip("long: ask for it by --soak".into()))),
                _ => run(test, &name, Setup { backend, slow }),
            };
            let making = fetch::spent() - before;
            let took = Took { test: began.elapsed().saturating_sub(making), making };
            tally.count(&name, result, &took);
        }
    }
    if options.list { 0 } else { tally.close() }
}

/// The names under which a test runs, and the backend of each.
fn names(test: &Test, forced: Option<Backend>) -> Vec<(String, Backend)> {
    let path = test.path.strip_prefix("end_to_end::").unwrap_or(test.path);
    match (forced, test.scope) {
        (None, Scope::Core) => Backend::LADDER
            .into_iter()
            .map(|backend| (format!("{path} [{backend}]"), backend))
            .collect(),
        (forced, _) => vec![(path.to_owned(), forced.unwrap_or_default())],
    }
}

/// Runs a test on a thread of its own, so that one that hangs does not hold up the others.
fn run(test: &Test, name: &str, setup: Setup) -> Result<Outcome, String> {
    if let Err(skip) = backends::available(setup.backend) {
        return Ok(Err(skip));
    }
    let limit = match test.scope {
        Scope::Soak => setup.patience(Duration::from_secs(1800)),
        // On a slow machine only the shortest are run, which take a minute there.
        _ => Duration::from_secs(120 * u64::from(setup.slow.min(3))),
    };
    let (tell, told) = mpsc::channel();
    let test = test.run;
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(|| test(&setup)));
            let _ = tell.send(result.map_err(|_| "assertion failed, see above".to_owned()));
        })
        .map_err(|error| format!("no thread for it: {error}"))?;
    let result = wait(&told, limit).unwrap_or_else(|| {
        println!("{name} is not done; where its threads are:\n{}", process::threads());
        process::kill_all();
        // What waited for these processes now has no more reason to.
        let _ = told.recv_timeout(Duration::from_secs(10));
        Err(format!("not done after {limit:?}"))
    });
    process::kill_all();
    result
}

/// Waits for what a test tells at its end; `None` if that takes too long. What it has to fetch or to
/// build first does not count, and may take longer; but when there is no end of that, it is given up.
fn wait<T>(told: &Receiver<T>, limit: Duration) -> Option<T> {
    const LOOK: Duration = Duration::from_millis(500);
    let (began, before) = (Instant::now(), fetch::spent());
    loop {
        match told.recv_timeout(LOOK) {
            Ok(result) => return Some(result),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let making = fetch::spent() - before;
        if making > fetch::LONGEST {
            process::kill_all();
        }
        if began.elapsed() > limit + making {
            return None;
        }
    }
}

impl Tally {
    fn count(&mut self, name: &str, result: Result<Outcome, String>, took: &Took) {
        match result {
            Ok(Ok(())) => {
                self.passed += 1;
                println!("test {name} ... ok ({took})");
            }
            Ok(Err(Skip(reason))) => {
                self.skipped += 1;
                println!("test {name} ... skipped: {reason}");
                *self.reasons.entry(reason).or_default() += 1;
            }
            Err(error) => {
                println!("test {name} ... FAILED ({took}): {error}");
                self.failed.push(name.to_owned());
            }
        }
    }

    fn close(self) -> i32 {
        println!();
        for (reason, count) in &self.reasons {
            println!("skipped {count}: {reason}");
        }
        for name in &self.failed {
            println!("failed: {name}");
        }
        let Self { passed, failed, skipped, .. } = self;
        println!("{passed} passed, {} failed, {skipped} skipped", failed.len());
        i32::from(!failed.is_empty())
    }
}
