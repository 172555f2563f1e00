use crate::Backend;
use std::error::Error;
use std::io;

/// Why nothing could be captured. Each message tells what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The process may not load eBPF programs.
    #[error(
        "not permitted to load eBPF programs: this process lacks {missing}; run as root, or grant \
         them with `setcap cap_bpf,cap_perfmon+ep PROGRAM`"
    )]
    NotPermitted {
        /// The capabilities that it lacks.
        missing: String,
    },
    /// The kernel is older than what this library needs.
    #[error("Linux {release} is too old: 5.8 or later is needed")]
    KernelTooOld {
        /// The kernel's release.
        release: String,
    },
    /// The kernel does not describe its own types.
    #[error(
        "the kernel offers no type information at {path}: it must be built with \
         CONFIG_DEBUG_INFO_BTF=y (those of all larger distributions since 2021 are)"
    )]
    NoBtf {
        /// Where it was looked for.
        path: &'static str,
        /// What reading it said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The kernel is locked down so far that programs may not read memory.
    #[error(
        "the kernel is locked down for confidentiality (/sys/kernel/security/lockdown), which \
         forbids reading any payload: boot with lockdown=integrity or lockdown=none"
    )]
    LockedDown,
    /// Maps need more locked memory than this process may have. Only before Linux 5.11.
    #[error(
        "eBPF maps need more locked memory than RLIMIT_MEMLOCK allows: raise it (`ulimit -l \
         unlimited`, or LimitMEMLOCK=infinity in a systemd unit) or grant CAP_SYS_RESOURCE"
    )]
    MemoryLockLimit(#[source] io::Error),
    /// The ring buffers could not be made.
    #[error("ring buffers of {bytes} bytes could not be made ({source}); try a smaller size")]
    Ring {
        /// The size of each.
        bytes: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The backend that was asked for does not work on this kernel.
    #[error("the {backend} backend does not work on this kernel: {}; try `auto`", chain(&**.source))]
    Backend {
        /// The backend.
        backend: Backend,
        /// Why not.
        source: Box<dyn Error + Send + Sync>,
    },
    /// No backend works on this kernel.
    #[error("no backend works on this kernel: {}", list(.refused))]
    NothingAttached {
        /// Every backend, and why not.
        refused: Vec<(Backend, String)>,
    },
    /// The kernel refused something that it should allow.
    #[error("{action} failed: {}", chain(&**.source))]
    Kernel {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: Box<dyn Error + Send + Sync>,
    },
}

fn list(refused: &[(Backend, String)]) -> String {
    refused.iter().map(|(backend, why)| format!("{backend}: {why}")).collect::<Vec<_>>().join("; ")
}

/// An error and all that caused it, in one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some libraries repeat the cause in their own message.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    // A verifier's log runs to many lines; its last ones say what is wrong.
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    match lines.as_slice() {
        [] => String::new(),
        // aya announces a log that there may not be.
        [only] => only.trim_end().trim_end_matches(". Verifier output:").to_owned(),
        [first, .., last] => format!("{first} … {last}"),
    }
}
