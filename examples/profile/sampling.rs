//! What the examples `profile` and `flamegraph` have in common: their options, and sampling for a
//! while with a progress bar.

use lexopt::prelude::{Long, Short, ValueExt as _};
use pixie::profiler::{GroupBy, Measure, Profile};
use pixie::{Interest, Profiling, Record, RecordKind, Sink as _, Stats, Tracer};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::error::Error;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The part of the help that is about what is sampled.
pub(crate) const OPTIONS: &str = "\
What to sample:
      --pid N           only this process; can be given several times
      --cgroup ID|PATH  only processes in this cgroup: its id, or its folder under /sys/fs/cgroup;
                        can be given several times

How:
      --seconds S       for how long [default: 10]; Ctrl-C ends earlier
      --hz N            samples a second on each CPU [default: 99]
      --cycles          by the cycles that the CPUs count, where they do: reaches code of the kernel that is
                        not interrupted otherwise
      --by WHAT         command, process, thread, container or binary: what the stacks of are kept
                        apart [default: command; thread for the Firefox Profiler]
      --off-cpu         tell where threads wait, instead of what CPUs do
      --lines           look for source lines and inlined functions too, which takes longer
  -o, --output FILE     where to write
  -h, --help            this text

The report and the account go to stderr. Needs root, or CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE and
CAP_SYSLOG.
";

/// Waits that are shorter are not told of.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// What is to be sampled, and for how long.
pub(crate) struct Sampling {
    tracer: Tracer,
    profiling: Profiling,
    /// What the stacks of are kept apart, where that was said.
    group_by: Option<GroupBy>,
    default: GroupBy,
    intervals: bool,
    /// What is to be drawn or written: samples, or time that was waited.
    pub(crate) measure: Measure,
    pub(crate) duration: Duration,
    pub(crate) output: Option<PathBuf>,
}

/// Reads the command line; `None` when help was asked for. `other` is handed what is not understood
/// here, and says whether it is there.
pub(crate) fn parse(
    mut other: impl FnMut(&str, &mut lexopt::Parser) -> Result<bool, lexopt::Error>,
) -> Result<Option<Sampling>, lexopt::Error> {
    let mut parser = lexopt::Parser::from_env();
    let (mut frequency, mut measure) = (99_u32, Measure::Samples);
    let (mut lines, mut cycles) = (false, false);
    let (mut tracer, mut group_by) = (Tracer::new(), None);
    let (mut duration, mut output) = (Duration::from_secs(10), None);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("pid") => tracer = tracer.pid(parser.value()?.parse()?),
            Long("cgroup") => tracer = tracer.cgroup(cgroup(&parser.value()?)?),
            Long("seconds") => duration = parser.value()?.parse_with(seconds)?,
            Long("hz") => frequency = parser.value()?.parse()?,
            Long("cycles") => cycles = true,
            Long("by") => group_by = Some(parser.value()?.parse_with(group)?),
            Long("off-cpu") => measure = Measure::BlockedTime,
            Long("lines") => lines = true,
            Short('o') | Long("output") => output = Some(PathBuf::from(parser.value()?)),
            Short('h') | Long("help") => return Ok(None),
            Long(name) => {
                let name = name.to_owned();
                if !other(&name, &mut parser)? {
                    return Err(
                        format!("no option --{name}; --help shows those that there are").into()
                    );
                }
            }
            unexpected => return Err(unexpected.unexpected()),
        }
    }
    let mut profiling = Profiling::new(frequency);
    if measure == Measure::BlockedTime {
        profiling = profiling.off_cpu(SHORTEST_WAIT);
    }
    if lines {
        profiling = profiling.lines();
    }
    if cycles {
        profiling = profiling.cycles();
    }
    let (default, intervals) = (GroupBy::Command, false);
    Ok(Some(Sampling {
        tracer,
        profiling,
        group_by,
        default,
        intervals,
        measure,
        duration,
        output,
    }))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "it is not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn group(text: &str) -> Result<GroupBy, String> {
    match text {
        "command" => Ok(GroupBy::Command),
        "process" => Ok(GroupBy::Process),
        "thread" => Ok(GroupBy::Thread),
        "container" => Ok(GroupBy::Container),
        "binary" => Ok(GroupBy::Binary),
        _ => Err("it is none of command, process, thread, container, binary".to_owned()),
    }
}

/// The id of a cgroup, which is the inode number of its folder.
fn cgroup(value: &OsString) -> Result<u64, lexopt::Error> {
    if let Some(id) = value.to_str().and_then(|text| text.parse().ok()) {
        return Ok(id);
    }
    match std::fs::metadata(value) {
        Ok(folder) => Ok(folder.ino()),
        Err(error) => Err(format!("--cgroup {}: {error}", value.display()).into()),
    }
}

impl Sampling {
    /// Samples until the time is over or Ctrl-C comes, and returns what was sampled.
    pub(crate) fn run(self) -> Result<(Profile, Stats), Box<dyn Error>> {
        let signals = signals()?;
        let group_by = self.group_by.unwrap_or(self.default);
        let mut profile = Profile::new(group_by);
        if self.intervals {
            profile = profile.with_intervals();
        }
        let profile = Arc::new(Mutex::new(profile));
        let adding = Arc::clone(&profile);
        let sink = pixie::sinks::each(move |record: &Record| {
            let mut profile = adding.lock().unwrap_or_else(PoisonError::into_inner);
            match record {
                Record::Stack(stack) => profile.add(stack),
                Record::Lost(lost) => profile.add_lost(lost),
                _ => {}
            }
        });
        let sink = sink.only(Interest::none().with(RecordKind::Stack).with(RecordKind::Lost));
        let profiling = match group_by {
            GroupBy::Thread => self.profiling.per_thread(),
            _ => self.profiling,
        };
        let session = self.tracer.profiler(profiling).sink(sink).start()?;
        writeln!(io::stderr(), "{}", session.report())?;
        let counted = match self.measure {
            Measure::BlockedTime => Measure::Waits,
            measure => measure,
        };
        let total = || profile.lock().unwrap_or_else(PoisonError::into_inner).total(counted);
        wait(self.duration, &signals, total)?;
        let stats = session.stop()?;
        writeln!(io::stderr(), "{stats}")?;
        let profile = std::mem::take(&mut *profile.lock().unwrap_or_else(PoisonError::into_inner));
        Ok((profile, stats))
    }
}

/// What only one of the two examples asks for.
#[allow(dead_code, reason = "the other does not")]
impl Sampling {
    /// The same, with what the stacks of are kept apart where nothing was said.
    pub(crate) fn by_default(mut self, group_by: GroupBy) -> Self {
        self.default = group_by;
        self
    }

    /// The same, where it is kept what was sampled when.
    pub(crate) fn with_intervals(mut self) -> Self {
        self.intervals = true;
        self
    }
}

/// Tells of Ctrl-C and SIGTERM.
fn signals() -> io::Result<Receiver<()>> {
    let (notify, notices) = mpsc::channel();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            if notify.send(()).is_err() {
                break;
            }
        }
    })?;
    Ok(notices)
}

/// Waits until the time is over or a signal comes, and shows how far it is on a terminal.
fn wait(duration: Duration, signals: &Receiver<()>, total: impl Fn() -> u64) -> io::Result<()> {
    const WIDTH: usize = 40;
    let (began, terminal) = (Instant::now(), io::stderr().is_terminal());
    loop {
        let elapsed = began.elapsed().min(duration);
        if terminal {
            let part = elapsed.as_secs_f64() / duration.as_secs_f64().max(f64::EPSILON);
            let done = (part * WIDTH as f64) as usize;
            let (bar, rest) = ("█".repeat(done), "░".repeat(WIDTH - done.min(WIDTH)));
            let (now, end) = (elapsed.as_secs_f64(), duration.as_secs_f64());
            write!(io::stderr(), "\r{bar}{rest} {now:.1} of {end:.1} s, {} stacks ", total())?;
        }
        let left = duration.saturating_sub(elapsed).min(Duration::from_millis(100));
        let signal = signals.recv_timeout(left);
        if signal != Err(RecvTimeoutError::Timeout) || began.elapsed() >= duration {
            return if terminal { writeln!(io::stderr()) } else { Ok(()) };
        }
    }
}
