use indexmap::IndexMap;
use pixie_core::Text;
use pixie_core::id::Pid;
use pixie_core::record::{CgroupId, Process};
use pixie_probes::event::Open;
use rustc_hash::FxBuildHasher;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;

/// The most processes that are remembered.
const CAPACITY: usize = 4096;

/// The kernel's clock ticks of user space: `USER_HZ` is 100 on every architecture of ours.
const TICK_NS: u64 = 10_000_000;

/// The processes that events were seen in, each described once.
#[derive(Debug)]
pub(crate) struct Processes {
    known: IndexMap<Key, Arc<Process>, FxBuildHasher>,
    /// Whether the processes run on this machine now, so that `/proc` tells of them.
    live: bool,
}

/// What names a process for good, as long as it runs the same program.
type Key = (Pid, u64, [u8; 16]);

/// What the kernel says of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) pid: Pid,
    /// In nanoseconds since boot; 0 when unknown.
    pub(crate) start_time_ns: u64,
    /// Padded with NUL.
    pub(crate) comm: [u8; 16],
    pub(crate) cgroup: Option<CgroupId>,
}

impl From<&Open> for Seen {
    fn from(open: &Open) -> Self {
        let Open { pid, start_time_ns, comm, cgroup, .. } = *open;
        Self { pid, start_time_ns, comm, cgroup }
    }
}

impl Processes {
    /// Processes of this machine when `live`; else of another place or time.
    pub(crate) fn new(live: bool) -> Self {
        Self { known: IndexMap::default(), live }
    }

    /// The process that was seen. The first time, `/proc` is asked for the rest.
    pub(crate) fn get(&mut self, seen: impl Into<Seen>) -> Arc<Process> {
        let seen = seen.into();
        let key = (seen.pid, seen.start_time_ns, seen.comm);
        if let Some(process) = self.known.get(&key) {
            return Arc::clone(process);
        }
        let process = Arc::new(describe(seen, self.live));
        if self.known.len() >= CAPACITY {
            self.make_room();
        }
        self.known.insert(key, Arc::clone(&process));
        process
    }

    /// Forgets the processes that nothing names, or all where every one is named.
    fn make_room(&mut self) {
        self.known.retain(|_, process| Arc::strong_count(process) > 1);
        if self.known.len() >= CAPACITY {
            self.known.clear();
        }
    }
}

fn describe(seen: Seen, live: bool) -> Process {
    let comm = seen.comm.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut process = Process::new(seen.pid, Text::from_bytes(comm.to_vec()));
    process.start_time_ns = seen.start_time_ns;
    process.cgroup = seen.cgroup;
    // A pid may mean another process to us than to the kernel, when we are in a pid namespace or
    // the process has ended: believe `/proc` only where it tells of the same start.
    if live && started_at(seen.pid).is_some_and(|start| same_start(start, seen.start_time_ns)) {
        process.exe = executable(seen.pid);
        process.container = fs::read_to_string(format!("/proc/{}/cgroup", seen.pid))
            .ok()
            .and_then(|paths| container(&paths).map(Text::from));
    }
    process
}

fn same_start(start_ns: u64, of_event_ns: u64) -> bool {
    of_event_ns == 0 || start_ns.abs_diff(of_event_ns) <= TICK_NS
}

/// When the process that `/proc` knows by this pid started, in nanoseconds since boot.
fn started_at(pid: Pid) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may have blanks and parentheses of its own. What follows it starts
    // with field 3; the start is field 22 (proc_pid_stat(5)).
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: u64 = fields.split_ascii_whitespace().nth(22 - 3)?.parse().ok()?;
    Some(ticks.saturating_mul(TICK_NS))
}

fn executable(pid: Pid) -> Option<Text> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let mut path = path.into_os_string().into_vec();
    if let Some(length) = path.strip_suffix(b" (deleted)").map(<[u8]>::len) {
        path.truncate(length);
    }
    Some(Text::from_bytes(path))
}

/// The container that the cgroup paths of a process name: 64 hexadecimal digits in a row, which is
/// how Docker, containerd, CRI-O and Podman all name theirs.
fn container(paths: &str) -> Option<&str> {
    paths
        .split(|character: char| !character.is_ascii_hexdigit())
        .find(|candidate| candidate.len() == 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f2a9c8b7d6e5f40312233445566778899aabbccddeeff00112233445566aabb";

    #[test]
    fn container_ids_are_found_in_the_paths_of_all_runtimes() {
        for path in [
            format!("0::/system.slice/docker-{ID}.scope\n"),
            format!("12:memory:/docker/{ID}\n0::/\n"),
            format!("0::/kubepods.slice/kubepods-burstable.slice/cri-containerd-{ID}.scope\n"),
            format!("0::/machine.slice/libpod-{ID}.scope/container\n"),
        ] {
            assert_eq!(container(&path), Some(ID), "{path}");
        }
        assert_eq!(container("0::/user.slice/user-1000.slice/session-2.scope\n"), None);
        assert_eq!(container(&format!("0::/{ID}{ID}\n")), None);
    }

    #[test]
    fn our_own_process_is_described_from_proc() {
        let pid = Pid(std::process::id());
        let start_time_ns = started_at(pid).expect("/proc tells of us");
        let process = describe(seen(pid, start_time_ns), true);
        let exe = std::env::current_exe().unwrap();
        assert_eq!(process.exe.unwrap().to_str(), exe.to_str().unwrap());
        assert_eq!(process.comm, "test");
    }

    #[test]
    fn another_process_of_the_same_pid_is_not_mistaken_for_it() {
        let pid = Pid(std::process::id());
        let start_time_ns = started_at(pid).expect("/proc tells of us");
        let process = describe(seen(pid, start_time_ns + 3 * TICK_NS), true);
        assert_eq!(process.exe, None);
    }

    #[test]
    fn the_number_of_known_processes_is_bounded() {
        let mut processes = Processes::new(false);
        let named: Vec<_> =
            (0..3 * CAPACITY as u32).map(|pid| processes.get(seen(Pid(pid), 1))).collect();
        assert!(processes.known.len() <= CAPACITY);
        assert_eq!(named.len(), 3 * CAPACITY);
    }

    fn seen(pid: Pid, start_time_ns: u64) -> Seen {
        let mut comm = [0; 16];
        comm[..4].copy_from_slice(b"test");
        Seen { pid, start_time_ns, comm, cgroup: None }
    }
}
