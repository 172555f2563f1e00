//! What to capture, of whom, and by which means.

use crate::tls::{Libraries, TlsFile};
use pixie_core::id::Pid;
use pixie_core::record::CgroupId;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// How socket calls are observed. All backends tell the same events; they differ in what they cost
/// and in which kernels have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// The cheapest that this kernel loads, tried in the order in which they stand here.
    #[default]
    Auto,
    /// The tracepoints `sock_send_length` and `sock_recv_length`, which fire on socket traffic
    /// alone. Linux 6.3 and later.
    Socket,
    /// Exits of the protocol families' send and receive functions, by BPF trampolines.
    /// Linux 5.15 and later, with `CONFIG_FUNCTION_TRACER`.
    Fentry,
    /// The exit of every system call, by the tracepoint `sys_exit`. Works everywhere; taxes system
    /// calls that have nothing to do with sockets too.
    SysExit,
    /// Kprobes on TCP's functions, and kretprobes on the socket system calls for the rest. Needs
    /// `CONFIG_KPROBES`. Comes last, because a kretprobe has but a few instances: of sockets that
    /// are not TCP's, transfers are missed while many threads wait in the same system call.
    Kprobe,
}

impl Backend {
    /// The backends proper, cheapest first.
    pub const LADDER: [Self; 4] = [Self::Socket, Self::Fentry, Self::SysExit, Self::Kprobe];

    /// Its name on a command line: `auto`, `socket`, `fentry`, `kprobe` or `sysexit`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Socket => "socket",
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::SysExit => "sysexit",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The name is not one of [`Backend`]'s.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no backend {0:?}: it is one of auto, socket, fentry, kprobe and sysexit")]
pub struct UnknownBackend(String);

impl FromStr for Backend {
    type Err = UnknownBackend;

    fn from_str(name: &str) -> Result<Self, UnknownBackend> {
        [Self::Auto]
            .into_iter()
            .chain(Self::LADDER)
            .find(|backend| backend.as_str() == name)
            .ok_or_else(|| UnknownBackend(name.to_owned()))
    }
}

/// How the functions of TLS libraries are probed. Both ways tell the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Uprobes {
    /// [`Uprobes::Multi`] where this kernel loads it, else [`Uprobes::Perf`].
    #[default]
    Auto,
    /// One link for all places in a file that a program is on (`BPF_TRACE_UPROBE_MULTI`). The kernel
    /// lets go of them together, and from 6.12 on they can be in one process alone. Linux 6.6 and later.
    Multi,
    /// An event of perf's for each place. Works everywhere. The kernel takes up to 100 ms to let go
    /// of each.
    Perf,
}

/// Whose traffic is captured. An empty list does not restrict; a connection must pass all lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// Only these processes.
    pub pids: Vec<Pid>,
    /// Only processes in exactly these cgroups.
    pub cgroups: Vec<CgroupId>,
    /// Only connections with one of these ports, at either end.
    pub ports: Vec<u16>,
    /// Not these processes.
    pub exclude_pids: Vec<Pid>,
    /// Not processes in exactly these cgroups.
    pub exclude_cgroups: Vec<CgroupId>,
    /// Not processes that run one of these executables (their paths as the process sees them). One
    /// that starts later and ends within milliseconds may be seen all the same.
    pub exclude_executables: Vec<PathBuf>,
}

/// What to capture, and how.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CaptureOptions {
    /// By which means.
    pub backend: Backend,
    /// Of whom.
    pub filter: Filter,
    /// The most bytes that are captured of a run of transfers in one direction of a connection: of
    /// a message, for protocols that take turns. Of what follows in the same run, only the first
    /// bytes of each transfer are captured, so that the start of a message is not missed. The rest
    /// is a counted hole. Default 16 KiB; at most 1 GiB.
    pub message_bytes: u32,
    /// The size of all ring buffers together in bytes; rounded up to a power of two a ring. They
    /// count twice in the process's resident memory, because they are mapped twice. Default 2 MiB a
    /// CPU, but at least 4 MiB and at most 64 MiB.
    pub ring_bytes: usize,
    /// Capture the tracer's own process too. Default false.
    pub include_self: bool,
    /// Capture plaintext from inside these TLS libraries. Default none.
    pub tls: Libraries,
    /// By which means those are probed.
    pub uprobes: Uprobes,
}

impl Default for CaptureOptions {
    fn default() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            backend: Backend::Auto,
            filter: Filter::default(),
            message_bytes: 16 << 10,
            ring_bytes: (cpus * (2 << 20)).clamp(4 << 20, 64 << 20),
            include_self: false,
            tls: Libraries::none(),
            uprobes: Uprobes::Auto,
        }
    }
}

/// What was attached, what was not, and why.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// The kernel's release, as `uname -r` shows it.
    pub kernel: String,
    /// The backend that is in use.
    pub backend: Backend,
    /// Every program, attached or not.
    pub attachments: Vec<Attachment>,
    /// How the functions of TLS libraries are probed; `None` when they are not.
    pub uprobes: Option<Uprobes>,
    /// Every file with a TLS library that was found, in the order in which they were.
    pub tls: Vec<TlsFile>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

/// One program, and what became of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Attachment {
    /// What it was to be attached to: `tp_btf/sock_send_length`.
    pub target: String,
    /// What the program is for, in a few words.
    pub purpose: &'static str,
    /// `None` when it is attached; else why not, and what to do about it.
    pub refused: Option<String>,
}
