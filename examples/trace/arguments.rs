//! The command line.

use lexopt::prelude::{Long, Short, ValueExt as _};
use pixie::Tracer;
use pixie::tls::{self, Libraries, UnknownLibrary};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) const USAGE: &str = "\
Shows the HTTP exchanges of every process on this machine, live, one line each.

Usage: trace [OPTIONS]

What to show:
      --pid N           only this process; can be given several times
      --port N          only connections with this port; can be given several times
      --cgroup ID|PATH  only processes in this cgroup: its id, or its folder under /sys/fs/cgroup;
                        can be given several times
      --tls LIBRARIES   what is inside encrypted connections too: openssl, boringssl, go, gnutls, rustls;
                        several of them with commas in between, or all
      --profile HZ      sample call stacks too, so many times a second on each CPU
      --demo            start a small server and client, to have something to show; also one that
                        is encrypted, where there are openssl and curl, with --tls all

How:
      --json            one JSON object a line
      --quiet           show no records: only the report and the account
      --record FILE     write what is captured as a packet capture (pcapng), for replay, tshark or
                        wireshark; what nobody parses too, which costs more than it would
      --for SECONDS     end after that time; otherwise by Ctrl-C
      --stats           show the account each second, on stderr
      --backend NAME    auto, socket, fentry, kprobe or sysexit [default: auto]
      --capture BYTES   the most that is captured of a message [default: 16384]
  -h, --help            this text

Records go to stdout; the report and the account go to stderr. `ready` on stderr says that
everything is attached. Needs root, or CAP_BPF, CAP_PERFMON and CAP_SYS_RESOURCE.
";

/// The hidden argument by which `--demo` starts the process that makes the traffic.
pub(crate) const DEMO_TRAFFIC: &str = "demo-traffic";

/// What is to be done.
pub(crate) enum Command {
    Help,
    DemoTraffic,
    Trace(Box<Arguments>),
}

/// How records are shown.
#[derive(Clone, Copy)]
pub(crate) enum Format {
    Lines,
    Json,
    Quiet,
}

/// What is to be traced, and how it is shown.
pub(crate) struct Arguments {
    pub(crate) format: Format,
    pub(crate) show_stats: bool,
    pub(crate) duration: Option<Duration>,
    pub(crate) demo: bool,
    pub(crate) record: Option<PathBuf>,
    pub(crate) tracer: Tracer,
}

pub(crate) fn parse() -> Result<Command, lexopt::Error> {
    let mut parser = lexopt::Parser::from_env();
    let mut tracer = Tracer::new().kprobes();
    let (mut show_stats, mut demo, mut duration, mut record) = (false, false, None, None);
    let mut format = Format::Lines;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("json") => format = Format::Json,
            Long("quiet") => format = Format::Quiet,
            Long("stats") => show_stats = true,
            Long("record") => record = Some(parser.value()?.into()),
            Long("demo") => {
                demo = true;
                tracer = tracer.tls(tls::All);
            }
            Long("tls") => tracer = tracer.tls(libraries(&parser.value()?.parse::<String>()?)?),
            Long("for") => duration = Some(parser.value()?.parse_with(seconds)?),
            Long("pid") => tracer = tracer.pid(parser.value()?.parse()?),
            Long("port") => tracer = tracer.port(parser.value()?.parse()?),
            Long("cgroup") => tracer = tracer.cgroup(cgroup(&parser.value()?)?),
            Long("profile") => tracer = tracer.profiler(parser.value()?.parse::<u32>()?),
            Long("backend") => tracer = tracer.backend(parser.value()?.parse()?),
            Long("capture") => tracer = tracer.message_bytes(parser.value()?.parse()?),
            Long(DEMO_TRAFFIC) => return Ok(Command::DemoTraffic),
            Short('h') | Long("help") => return Ok(Command::Help),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::Trace(Box::new(Arguments { format, show_stats, duration, demo, record, tracer })))
}

/// Names with commas in between.
fn libraries(names: &str) -> Result<Libraries, lexopt::Error> {
    names
        .split(',')
        .map(str::parse)
        .try_fold(Libraries::none(), |all, library| Ok(all.union(library?)))
        .map_err(|error: UnknownLibrary| error.to_string().into())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "it is not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
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
