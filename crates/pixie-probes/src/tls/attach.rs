//! Attaches the programs to the functions of one file, and detaches them again.

use super::target::{Abi, AttachPoint, Call, Returns, Target};
use crate::kernel;
use crate::sys::{self, Uprobe};
use aya::programs::ProgramFd;
use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::AsFd as _;
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
    "go_stack_handshake",
    "go_stack_read",
    "go_stack_write",
    "go_stack_free",
    "go_stack_returns",
];

/// The programs that are loaded, by name.
pub(crate) type Programs = HashMap<&'static str, ProgramFd>;

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
        (Abi::C, Call::ReadEx | Call::EarlyRead) => "tls_read_ex",
        (Abi::C, Call::WriteEx | Call::EarlyWrite) => "tls_write_ex",
        (Abi::C, Call::WriteEx2) => "tls_write_ex2",
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
        (Abi::GoRegisters | Abi::GoStack, _) => return None,
    })
}

/// The program for an instruction by which a function returns.
fn returns(abi: Abi) -> &'static str {
    match abi {
        Abi::C => "tls_returns",
        Abi::GoRegisters => "go_returns",
        Abi::GoStack => "go_stack_returns",
    }
}

/// What the kernel is asked for, on behalf of one function.
struct Request {
    program: &'static str,
    offset: u64,
    is_return: bool,
}

/// Returns first: a call that is seen to begin is then seen to end.
fn requests(abi: Abi, point: &AttachPoint) -> Result<Vec<Request>, &'static str> {
    let entry = begins(abi, point.call).ok_or("there is no program for it")?;
    let mut requests = Vec::new();
    match &point.returns {
        Returns::None => {}
        Returns::At(offsets) => requests.extend(offsets.iter().map(|&offset| Request {
            program: returns(abi),
            offset,
            is_return: false,
        })),
        // Go moves stacks while functions run, and with them the return address.
        Returns::Uretprobe(_) if abi != Abi::C => {
            return Err("returns of Go's functions are not caught");
        }
        Returns::Uretprobe(offset) => {
            requests.push(Request { program: "tls_returned", offset: *offset, is_return: true });
        }
    }
    requests.push(Request { program: entry, offset: point.entry, is_return: false });
    Ok(requests)
}

/// Attaches to all functions of `target`, in the file at `path`. `number` is told with what they
/// see. Where `no_uretprobes` says why not, functions that need one are passed over.
pub(super) fn attach(
    programs: &Programs,
    target: &Target,
    path: &CStr,
    number: u32,
    no_uretprobes: Option<&str>,
) -> Attached {
    let mut attached = Attached::default();
    for point in &target.points {
        match attach_point(programs, target.abi, point, path, number, no_uretprobes) {
            Ok(probes) => {
                attached.probes.extend(probes);
                attached.names.push(point.symbol.clone());
            }
            Err(reason) => attached.refused.push((point.symbol.clone(), reason)),
        }
    }
    attached
}

/// All of a function's probes, or none.
fn attach_point(
    programs: &Programs,
    abi: Abi,
    point: &AttachPoint,
    path: &CStr,
    number: u32,
    no_uretprobes: Option<&str>,
) -> Result<Vec<Uprobe>, String> {
    if let (Returns::Uretprobe(_), Some(reason)) = (&point.returns, no_uretprobes) {
        return Err(reason.to_owned());
    }
    // From Linux 5.15 a link, with a number that its program can ask for.
    let number = kernel::is_at_least(5, 15).then_some(u64::from(number));
    let mut probes = Vec::new();
    for Request { program, offset, is_return } in requests(abi, point)? {
        let program = programs.get(program).ok_or("its program could not be loaded")?;
        match sys::attach_uprobe(program.as_fd(), path, offset, is_return, number) {
            Ok(probe) => probes.push(probe),
            Err(error) => {
                detach(probes);
                return Err(format!("at {offset:#x} in the file: {error}"));
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
