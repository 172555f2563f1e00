//! Attaches the programs to the functions of one file, and detaches them again.

use super::target::{Abi, AttachPoint, Call, Returns, Target};
use crate::kernel;
use crate::options::Uprobes;
use crate::sys::{self, Uprobe};
use pixie_core::id::Pid;
use std::collections::{BTreeMap, HashMap};
use std::ffi::CStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::thread;

/// As many probes are let go of side by side: the kernel takes up to 100 ms for each.
const DETACHING: usize = 64;

/// The programs of the objects.
pub(crate) const PROGRAMS: &[&str] = &[
    "tls_handshake",
    "tls_read",
    "tls_write",
    "tls_read_ex",
    "tls_write_ex",
    "tls_write_ex2",
    "tls_early_read",
    "tls_early_write",
    "tls_send_file",
    "tls_free",
    "tls_bio_write",
    "tls_returns",
    "tls_returned",
    "go_handshake",
    "go_read",
    "go_write",
    "go_free",
    "go_returns",
    "go_deferred",
    "go_stack_handshake",
    "go_stack_read",
    "go_stack_write",
    "go_stack_free",
    "go_stack_returns",
    "rustls_encrypt",
    "rustls_decrypt",
    "rustls_returns",
    "rustls_returned",
];

/// The programs that are loaded, by name.
pub(crate) enum Programs {
    /// Each probe has one instruction.
    Single(HashMap<&'static str, OwnedFd>),
    /// A probe can have many: Linux 6.6.
    Multi(HashMap<&'static str, OwnedFd>),
}

impl Programs {
    /// How they are attached.
    pub(crate) fn uprobes(&self) -> Uprobes {
        match self {
            Self::Single(_) => Uprobes::Perf,
            Self::Multi(_) => Uprobes::Multi,
        }
    }

    /// Whether they can be attached in one process alone. Before Linux 6.10, threads other than the first
    /// were then left out; this is the first long-term release after that.
    pub(super) fn can_be_of_one_process(&self) -> bool {
        matches!(self, Self::Multi(_)) && kernel::is_at_least(6, 12)
    }

    /// Attaches one of them to instructions of a file: to all of them or, if that fails, to none.
    fn attach(
        &self,
        program: &str,
        when: When,
        places: &[(u64, u64)],
        place: &Place<'_>,
    ) -> Result<Vec<Uprobe>, String> {
        const MISSING: &str = "its program could not be loaded";
        let is_return = when == When::Returned;
        let Place { path, pid, .. } = *place;
        match self {
            Self::Single(programs) => {
                let program = programs.get(program).ok_or(MISSING)?.as_fd();
                let mut probes = Vec::new();
                for &(offset, told) in places {
                    let told = can_be_told().then_some(told);
                    match sys::attach_uprobe(program, path, offset, is_return, told) {
                        Ok(probe) => probes.push(probe),
                        Err(error) => {
                            detach(probes);
                            return Err(format!("at {offset:#x} in the file: {error}"));
                        }
                    }
                }
                Ok(probes)
            }
            Self::Multi(programs) => {
                let program = programs.get(program).ok_or(MISSING)?.as_fd();
                let pid = pid.map(|pid| pid.0);
                sys::attach_multi_uprobe(program, path, places, is_return, pid)
                    .map(|probe| vec![probe])
                    .map_err(|error| {
                        let offsets: Vec<u64> = places.iter().map(|(offset, _)| *offset).collect();
                        format!("at {offsets:#x?} in the file: {error}")
                    })
            }
        }
    }
}

/// Whether programs can ask for a number that they were attached with.
fn can_be_told() -> bool {
    kernel::is_at_least(5, 15)
}

/// Where it is attached.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// The file.
    pub(super) path: &'a CStr,
    /// Is told with what they see.
    pub(super) number: u32,
    /// Only in this process, where the programs can.
    pub(super) pid: Option<Pid>,
}

/// What a file's probes came to.
#[derive(Default)]
pub(super) struct Attached {
    pub(super) probes: Vec<Uprobe>,
    pub(super) names: Vec<String>,
    pub(super) refused: Vec<(String, String)>,
}

/// The program for the beginning of a call; `None` where no library has such a function.
fn begins(abi: Abi, call: Call) -> Option<&'static str> {
    Some(match (abi, call) {
        (Abi::C, Call::Handshake) => "tls_handshake",
        (Abi::C, Call::Read) => "tls_read",
        (Abi::C, Call::Write) => "tls_write",
        (Abi::C, Call::ReadEx) => "tls_read_ex",
        (Abi::C, Call::WriteEx) => "tls_write_ex",
        (Abi::C, Call::WriteEx2) => "tls_write_ex2",
        (Abi::C, Call::EarlyRead) => "tls_early_read",
        (Abi::C, Call::EarlyWrite) => "tls_early_write",
        (Abi::C, Call::SendFile) => "tls_send_file",
        (Abi::C, Call::Free) => "tls_free",
        (Abi::C, Call::BioWrite) => "tls_bio_write",
        (Abi::GoRegisters, Call::Handshake) => "go_handshake",
        (Abi::GoRegisters, Call::Read) => "go_read",
        (Abi::GoRegisters, Call::Write) => "go_write",
        (Abi::GoRegisters, Call::Free) => "go_free",
        (Abi::GoStack, Call::Handshake) => "go_stack_handshake",
        (Abi::GoStack, Call::Read) => "go_stack_read",
        (Abi::GoStack, Call::Write) => "go_stack_write",
        (Abi::GoStack, Call::Free) => "go_stack_free",
        (Abi::Rust, Call::Encrypt) => "rustls_encrypt",
        (Abi::Rust, Call::Decrypt) => "rustls_decrypt",
        _ => return None,
    })
}

/// The program for an instruction by which a function returns.
fn returns(abi: Abi) -> &'static str {
    match abi {
        Abi::C => "tls_returns",
        Abi::GoRegisters => "go_returns",
        Abi::GoStack => "go_stack_returns",
        Abi::Rust => "rustls_returns",
    }
}

/// When a program runs, in the order in which they are attached: a call that is seen to begin is then
/// seen to end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum When {
    /// At instructions on a function's ways out.
    Returns,
    /// Where it has returned to.
    Returned,
    /// As it begins.
    Begins,
}

/// What the kernel is asked for: each program once, with all of its places in the file and what it is
/// told there.
type Requests = BTreeMap<(When, &'static str), Vec<(u64, u64)>>;

/// Adds what is asked for on behalf of one function of the file with this number.
fn request(
    abi: Abi,
    point: &AttachPoint,
    number: u32,
    requests: &mut Requests,
) -> Result<(), &'static str> {
    let entry = begins(abi, point.call).ok_or("there is no program for it")?;
    let number = u64::from(number);
    let mut add = |when, program, offsets: &[u64]| {
        let places = offsets.iter().map(|offset| (*offset, number));
        requests.entry((when, program)).or_default().extend(places);
    };
    let deferred = point.deferred.as_ref().filter(|_| can_be_told());
    match &point.returns {
        Returns::None => {}
        Returns::At(offsets) => {
            let offsets = deferred.map_or(offsets, |deferred| &deferred.other_returns);
            add(When::Returns, returns(abi), offsets);
        }
        Returns::Uretprobe(offset) if abi == Abi::Rust => {
            add(When::Returned, "rustls_returned", &[*offset]);
        }
        // Go moves stacks while functions run, and with them the return address.
        Returns::Uretprobe(_) if abi != Abi::C => {
            return Err("returns of Go's functions are not caught");
        }
        Returns::Uretprobe(offset) => add(When::Returned, "tls_returned", &[*offset]),
    }
    add(When::Begins, entry, &[point.entry]);
    if let Some(deferred) = deferred {
        let shape = u64::from(deferred.frame) << 32 | u64::from(deferred.result);
        let places = requests.entry((When::Returns, "go_deferred")).or_default();
        places.push((deferred.offset, shape));
    }
    Ok(())
}

/// Attaches to all functions of `target`. Where `no_uretprobes` says why not, functions that need one
/// are passed over.
pub(super) fn attach(
    programs: &Programs,
    target: &Target,
    place: &Place<'_>,
    no_uretprobes: Option<&str>,
) -> Attached {
    let mut attached = Attached::default();
    let (mut all, mut each) = (Requests::new(), Vec::new());
    for point in &target.points {
        let mut own = Requests::new();
        let refused = match (&point.returns, no_uretprobes) {
            (Returns::Uretprobe(_), Some(reason)) => Err(reason),
            _ => request(target.abi, point, place.number, &mut all)
                .and_then(|()| request(target.abi, point, place.number, &mut own)),
        };
        match refused {
            Ok(()) => each.push((point.symbol.clone(), own)),
            Err(reason) => attached.refused.push((point.symbol.clone(), reason.to_owned())),
        }
    }
    // All of them together are sooner attached, and let go of; if one cannot be, it is left out.
    if let Ok(probes) = attach_all(programs, all, place) {
        attached.probes = probes;
        attached.names = each.into_iter().map(|(symbol, _)| symbol).collect();
        return attached;
    }
    for (symbol, own) in each {
        match attach_all(programs, own, place) {
            Ok(probes) => {
                attached.probes.extend(probes);
                attached.names.push(symbol);
            }
            Err(reason) => attached.refused.push((symbol, reason)),
        }
    }
    attached
}

/// All of these probes, or none.
fn attach_all(
    programs: &Programs,
    requests: Requests,
    place: &Place<'_>,
) -> Result<Vec<Uprobe>, String> {
    let mut probes = Vec::new();
    for ((when, program), mut places) in requests {
        // Functions may share a way out.
        places.sort_unstable();
        places.dedup();
        match programs.attach(program, when, &places, place) {
            Ok(more) => probes.extend(more),
            Err(error) => {
                detach(probes);
                return Err(error);
            }
        }
    }
    Ok(probes)
}

/// Lets go of probes. Each waits for the kernel to be done with it; they wait side by side.
pub(super) fn detach(probes: Vec<Uprobe>) {
    let share = probes.len().div_ceil(DETACHING).max(1);
    let mut probes = probes.into_iter().peekable();
    thread::scope(|scope| {
        while probes.peek().is_some() {
            let some: Vec<_> = probes.by_ref().take(share).collect();
            scope.spawn(move || drop(some));
        }
    });
}
