//! The thread that finds TLS libraries as processes map them, and keeps probes on them.

use super::attach::{self, Attached, Place, Programs};
use super::discovery::{Change, Discovery};
use super::inspect::inspect;
use super::known::Known;
use super::safety;
use super::target::{Abi, Found, Key, Refusal, Target};
use super::{Libraries, Library, TlsFile};
use crate::options::Filter;
use crate::sys::Uprobe;
use aya::maps::{self, MapData};
use pixie_core::id::Pid;
use pixie_symbols::ElfFile;
use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long the start of a capture waits for the libraries of the processes that run then.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// The longest time between two looks, and until it is noticed that they are to stop.
const INTERVAL: Duration = Duration::from_millis(20);
/// Probes stay for a while after the last process has gone: the next may come soon.
const LINGER: Duration = Duration::from_secs(30);
/// The most files that are remembered to hold no library.
const MAX_FILES: usize = 1 << 16;

/// The thread; ends when it is stopped or dropped, and detaches everything then.
pub(crate) struct Tracker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    known: Known,
}

impl Tracker {
    /// Starts the thread, and waits until it has looked at the processes that run now.
    pub(crate) fn start(
        programs: Programs,
        marks: Marks,
        libraries: Libraries,
        filter: &Filter,
        include_self: bool,
    ) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let (tell, looked) = mpsc::channel();
        let known = Known::default();
        let mut files = Files {
            programs,
            marks,
            libraries,
            wanted: Wanted::new(filter, include_self),
            known: known.clone(),
            discovery: Discovery::new(),
            files: HashMap::new(),
            by_process: HashMap::new(),
        };
        let thread = thread::Builder::new().name("pixie-tls".to_owned()).spawn(move || {
            files.look();
            // Nobody waits any more if it took too long.
            let _ = tell.send(());
            files.run(&stopped);
        })?;
        let _ = looked.recv_timeout(FIRST_LOOK);
        Ok(Self { stop: Some(stop), thread: Some(thread), known })
    }

    /// What is probed.
    pub(crate) fn known(&self) -> &Known {
        &self.known
    }

    /// Detaches everything.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // If it panicked, its probes have gone with it.
            let _ = thread.join();
        }
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A library in a file.
struct Probed {
    /// Its place in the report.
    place: usize,
    number: u32,
    target: Option<Target>,
    /// By the process that they are in, or those in all of them.
    probes: HashMap<Option<Pid>, Vec<Uprobe>>,
    processes: HashSet<Pid>,
    /// When the last process went.
    left: Option<Instant>,
}

impl Probed {
    fn attach(
        &mut self,
        programs: &Programs,
        found: &Found,
        pid: Option<Pid>,
        forbidden: Option<&str>,
        known: &Known,
    ) {
        let Some(target) = &self.target else { return };
        attach::detach(self.probes.remove(&pid).unwrap_or_default());
        let attached = open(found).and_then(|file| {
            // By its descriptor: whatever has become of its path.
            let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
            // Go's returns are not caught, so nothing forbids that.
            let forbidden = forbidden.filter(|_| matches!(target.abi, Abi::C | Abi::Rust));
            let place = Place { path: &path, number: self.number, pid };
            Ok(attach::attach(programs, target, &place, forbidden))
        });
        known.update(self.place, |report| match attached {
            Ok(Attached { probes, names, refused }) => {
                (report.attached, report.refused) = (names, refused);
                report.notes.retain(|note| !note.starts_with(NOT_OPENED));
                if !probes.is_empty() {
                    self.probes.insert(pid, probes);
                }
            }
            Err(error) => {
                let note = format!("{NOT_OPENED}: {error}");
                if !report.notes.contains(&note) {
                    report.notes.push(note);
                }
            }
        });
    }
}

/// How a note begins of a file whose process had ended when it was to be probed, or that may not be opened.
const NOT_OPENED: &str = "it could not be opened";

/// What the kernel's programs are to know of processes.
type Marks = maps::HashMap<MapData, u32, u8>;

/// `HAS_RUSTLS`: where such a process reads to is to be noted, before it first calls rustls.
const HAS_RUSTLS: u8 = 3;
/// `BPF_NOEXIST` of linux/bpf.h.
const UNLESS_KNOWN: u64 = 1;

struct Files {
    programs: Programs,
    marks: Marks,
    libraries: Libraries,
    wanted: Wanted,
    known: Known,
    discovery: Discovery,
    /// Those that were looked into, with the libraries in them that are of interest.
    files: HashMap<Key, Vec<Probed>>,
    by_process: HashMap<Pid, Vec<Key>>,
}

impl Files {
    fn run(&mut self, stopped: &Receiver<()>) {
        while stopped.try_recv() == Err(TryRecvError::Empty) {
            self.discovery.wait(INTERVAL);
            self.look();
        }
        let probed = self.files.drain().flat_map(|(_, libraries)| libraries);
        attach::detach(probed.flat_map(|probed| probed.probes.into_values().flatten()).collect());
    }

    /// Takes note of what has changed.
    fn look(&mut self) {
        let mut changes = Vec::new();
        self.discovery.poll(&mut changes);
        for change in changes {
            match change {
                Change::Found(found) => {
                    if self.wanted.wants(found.pid) {
                        self.found(&found);
                    }
                }
                Change::Ended(pid) => self.ended(pid),
            }
        }
        self.let_go();
    }

    fn found(&mut self, found: &Found) {
        let key = found.key();
        if !self.files.contains_key(&key) {
            if self.files.len() >= MAX_FILES {
                self.files.retain(|_, libraries| !libraries.is_empty());
            }
            // If its process has ended, nothing is known of the file: the next that maps it will show it.
            let Ok(file) = open(found) else { return };
            let inspected = self.inspect(file, found);
            self.files.insert(key, inspected);
        }
        let Some(libraries) = self.files.get_mut(&key) else { return };
        // Of all in the file the same is true.
        if !libraries.iter_mut().fold(false, |new, probed| probed.processes.insert(found.pid) | new)
        {
            return;
        }
        self.by_process.entry(found.pid).or_default().push(key);
        let forbidden = safety::forbids_uretprobes(found.pid);
        // Where only some processes are asked for, others need not pay for it.
        let alone = !self.wanted.pids.is_empty() && self.programs.can_be_of_one_process();
        let pid = alone.then_some(found.pid);
        for probed in libraries {
            probed.left = None;
            self.known.mapped(probed.number, found.pid);
            if probed.target.as_ref().is_some_and(|target| target.library == Library::Rustls) {
                // Were it to fail, or were the number not the one that the kernel knows, the first call
                // would do it.
                drop(self.marks.insert(found.pid.0, HAS_RUSTLS, UNLESS_KNOWN));
            }
            self.known.update(probed.place, |file| file.processes = probed.processes.len());
            // For the first time, or again; or what is there would harm this process.
            if !probed.probes.contains_key(&pid) || forbidden.is_some() {
                probed.attach(&self.programs, found, pid, forbidden, &self.known);
            }
        }
    }

    /// Looks into a file that is new.
    fn inspect(&self, file: File, found: &Found) -> Vec<Probed> {
        let Ok(file) = ElfFile::from_file(file) else { return Vec::new() };
        let inspected = inspect(&file, &found.name).into_iter();
        inspected.filter_map(|library| self.of_interest(library, found)).collect()
    }

    /// Takes a library into the report, if it was asked for.
    fn of_interest(&self, library: Result<Target, Refusal>, found: &Found) -> Option<Probed> {
        let mut report = TlsFile {
            path: found.name.clone(),
            library: None,
            version: None,
            attached: Vec::new(),
            refused: Vec::new(),
            notes: Vec::new(),
            processes: 0,
        };
        let target = match library {
            Ok(target) => {
                if !self.libraries.contains(target.library) {
                    return None;
                }
                report.library = Some(target.library);
                report.version.clone_from(&target.version);
                report.notes.clone_from(&target.notes);
                Some(target)
            }
            Err(refusal) if !self.libraries.is_asked_for(refusal.library) => return None,
            Err(refusal) => {
                report.library = refusal.library;
                report.notes.push(refusal.reason);
                None
            }
        };
        let (place, number) = self.known.add(report, target.as_ref(), found.key());
        Some(Probed {
            place,
            number,
            target,
            probes: HashMap::new(),
            processes: HashSet::new(),
            left: None,
        })
    }

    fn ended(&mut self, pid: Pid) {
        let mut probes = Vec::new();
        self.known.ended(pid);
        for key in self.by_process.remove(&pid).unwrap_or_default() {
            for probed in self.files.get_mut(&key).into_iter().flatten() {
                probed.processes.remove(&pid);
                probes.extend(probed.probes.remove(&Some(pid)).unwrap_or_default());
                if probed.processes.is_empty() {
                    probed.left = Some(Instant::now());
                }
                self.known.update(probed.place, |file| file.processes = probed.processes.len());
            }
        }
        attach::detach(probes);
    }

    /// Detaches from files that nobody has mapped for a while.
    fn let_go(&mut self) {
        let now = Instant::now();
        let mut probes = Vec::new();
        for probed in self.files.values_mut().flatten() {
            if probed.left.is_some_and(|left| now - left > LINGER) {
                probed.left = None;
                probes.extend(probed.probes.drain().flat_map(|(_, probes)| probes));
                self.known.update(probed.place, |file| file.attached.clear());
            }
        }
        if !probes.is_empty() {
            attach::detach(probes);
        }
    }
}

/// Opens the file that was found, if it is still the same.
fn open(found: &Found) -> io::Result<File> {
    let file = File::open(&found.path)?;
    let status = file.metadata()?;
    if status.ino() != found.inode {
        return Err(io::Error::other("another file has taken its place"));
    }
    Ok(file)
}

/// Whose files are looked at.
struct Wanted {
    /// Only these, unless it is empty.
    pids: Vec<Pid>,
    excluded: Vec<Pid>,
    executables: Vec<PathBuf>,
}

impl Wanted {
    fn new(filter: &Filter, include_self: bool) -> Self {
        let mut wanted = Self {
            pids: Vec::new(),
            excluded: Vec::new(),
            executables: filter.exclude_executables.clone(),
        };
        if !include_self {
            wanted.excluded.push(Pid(std::process::id()));
        }
        // The kernel's programs tell pids apart as the kernel knows them: in a pid namespace /proc
        // has others.
        if !in_pid_namespace() {
            wanted.pids.clone_from(&filter.pids);
            wanted.excluded.extend(&filter.exclude_pids);
        }
        wanted
    }

    fn wants(&self, pid: Pid) -> bool {
        (self.pids.is_empty() || self.pids.contains(&pid))
            && !self.excluded.contains(&pid)
            && (self.executables.is_empty()
                || !fs::read_link(format!("/proc/{pid}/exe"))
                    .is_ok_and(|path| self.executables.contains(&path)))
    }
}

fn in_pid_namespace() -> bool {
    // The inode number of the initial pid namespace: include/linux/proc_ns.h.
    fs::metadata("/proc/self/ns/pid").is_ok_and(|status| status.ino() != 0xeffffffc)
}
