//! Where catching a function's return would harm the process.
//!
//! The kernel catches a return by replacing the return address on the stack (a uretprobe).

use crate::kernel;
use pixie_core::id::Pid;
use std::fs;

/// Whether this kernel catches returns by a system call that seccomp filters do not know: they would
/// kill the process. That is so from Linux 6.11 to 6.14, which lets it pass ("seccomp: passthrough
/// uretprobe systemcall without filtering"); so do later releases of 6.12 and 6.13.
pub(super) fn returns_by_system_call() -> bool {
    cfg!(target_arch = "x86_64") && kernel::version().is_some_and(is_affected)
}

fn is_affected((major, minor, patch): (u32, u32, u32)) -> bool {
    match (major, minor) {
        (6, 11) => true,
        // With a margin of some releases.
        (6, 12) => patch < 20,
        (6, 13) => patch < 6,
        _ => false,
    }
}

/// Whether catching a return kills a process with a shadow stack: from Linux 6.6, which has them,
/// to 6.11, which keeps both in step.
fn shadow_stacks_are_broken() -> bool {
    kernel::version().is_some_and(|version| ((6, 6, 0)..(6, 11, 0)).contains(&version))
}

/// Why returns are not to be caught in this process.
pub(super) fn forbids_uretprobes(pid: Pid) -> Option<&'static str> {
    if returns_by_system_call() {
        return Some(
            "on this kernel, catching a function's return kills processes that filter their system \
             calls: it needs Linux 6.14, or a later release of 6.12 or 6.13",
        );
    }
    if shadow_stacks_are_broken() && has_shadow_stack(&status(pid)) {
        return Some(
            "it is mapped by a process with a shadow stack, and on this kernel catching a function's \
             return would kill that: it needs Linux 6.11",
        );
    }
    None
}

fn status(pid: Pid) -> String {
    fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default()
}

/// `x86_Thread_features: shstk wrss`.
fn has_shadow_stack(status: &str) -> bool {
    status
        .lines()
        .filter_map(|line| line.strip_prefix("x86_Thread_features:"))
        .any(|features| features.split_ascii_whitespace().any(|feature| feature == "shstk"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_that_would_kill_are_known() {
        assert!(!is_affected((6, 10, 9)) && !is_affected((6, 14, 0)) && !is_affected((6, 18, 44)));
        assert!(is_affected((6, 11, 30)) && is_affected((6, 12, 0)) && is_affected((6, 13, 1)));
        assert!(!is_affected((6, 12, 43)) && !is_affected((6, 13, 12)));
    }

    #[test]
    fn shadow_stacks_are_seen() {
        assert!(has_shadow_stack("Name:\tcat\nx86_Thread_features:\tshstk wrss\n"));
        assert!(!has_shadow_stack("Name:\tshstk\nx86_Thread_features:\t\n"));
    }
}
