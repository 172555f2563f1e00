//! What is probed, for those who report it and those who name sessions.

use super::TlsFile;
use super::discovery;
use super::target::{Key, Library, Target};
use crate::event::Secure;
use pixie_core::id::Pid;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a process had mapped is remembered for so long: what the kernel told of it may be read only
/// after it has gone.
const REMEMBERED: Duration = Duration::from_secs(5);

/// Shared by the thread that finds libraries and the one that reads events.
#[derive(Clone, Default)]
pub(crate) struct Known(Arc<Mutex<Shared>>);

#[derive(Default)]
struct Shared {
    files: Vec<TlsFile>,
    /// By number, counted from 1.
    libraries: Vec<NamedLibrary>,
    /// Where the kernel does not say which of them was called.
    processes: HashMap<Pid, Mapped>,
    /// In the order in which they ended.
    ended: VecDeque<(Instant, Pid)>,
}

struct NamedLibrary {
    library: Library,
    version: Option<Arc<str>>,
    file: Key,
    has_plaintext: bool,
}

/// What a process has mapped: numbers of libraries through which plaintext passes.
#[derive(Default)]
struct Mapped {
    libraries: Vec<u32>,
    ended: bool,
}

impl Known {
    /// Every file that was found.
    pub(crate) fn files(&self) -> Vec<TlsFile> {
        self.lock().files.clone()
    }

    /// Says which library a session is of.
    pub(crate) fn name(&self, secure: &mut Secure) {
        let shared = self.lock();
        // Before Linux 5.15 all that is known is what the process has mapped.
        let number = match secure.target {
            0 => shared.only_library(secure.pid),
            number => Some(number),
        };
        if let Some(named) = number.and_then(|number| shared.library(number)) {
            secure.library = Some(named.library);
            secure.version.clone_from(&named.version);
        }
    }

    /// Takes note of a file and, if there is something to probe in it, of its library. Returns its
    /// place in the report and the library's number, 0 if it has none.
    pub(super) fn add(&self, report: TlsFile, target: Option<&Target>, file: Key) -> (usize, u32) {
        let mut shared = self.lock();
        let place = shared.files.len();
        shared.files.push(report);
        let number = target.map_or(0, |target| {
            shared.libraries.push(NamedLibrary {
                library: target.library,
                version: target.version.as_deref().map(Arc::from),
                file,
                has_plaintext: target.has_plaintext(),
            });
            shared.libraries.len() as u32
        });
        (place, number)
    }

    /// Changes the report of a file.
    pub(super) fn update(&self, place: usize, change: impl FnOnce(&mut TlsFile)) {
        if let Some(file) = self.lock().files.get_mut(place) {
            change(file);
        }
    }

    /// Takes note that a process has mapped a library.
    pub(super) fn mapped(&self, number: u32, pid: Pid) {
        let mut shared = self.lock();
        if shared.library(number).is_some_and(|library| library.has_plaintext) {
            let mapped = shared.processes.entry(pid).or_default();
            if mapped.ended {
                // Another process has this number now.
                *mapped = Mapped::default();
            }
            mapped.libraries.push(number);
        }
    }

    /// Takes note that a process has ended, or executes another program.
    pub(super) fn ended(&self, pid: Pid) {
        let now = Instant::now();
        let mut shared = self.lock();
        let Shared { processes, ended, .. } = &mut *shared;
        while let Some((then, pid)) = ended.front()
            && now - *then > REMEMBERED
        {
            if processes.get(pid).is_some_and(|mapped| mapped.ended) {
                processes.remove(pid);
            }
            ended.pop_front();
        }
        if let Some(mapped) = processes.get_mut(&pid) {
            mapped.ended = true;
            ended.push_back((now, pid));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn library(&self, number: u32) -> Option<&NamedLibrary> {
        self.libraries.get((number as usize).checked_sub(1)?)
    }

    /// The library that a process has, if it has one only.
    fn only_library(&self, pid: Pid) -> Option<u32> {
        let mapped = self.processes.get(&pid);
        let found;
        let numbers = match mapped {
            Some(mapped) if !mapped.ended => &mapped.libraries,
            // Files are probed for all processes at once, so that a session can begin before its
            // process was looked at.
            _ => {
                found = self.look_at(pid);
                mapped
                    .map(|mapped| &mapped.libraries)
                    .filter(|_| found.is_empty())
                    .unwrap_or(&found)
            }
        };
        match numbers.as_slice() {
            [only] => Some(*only),
            _ => None,
        }
    }

    /// The libraries that it has mapped now.
    fn look_at(&self, pid: Pid) -> Vec<u32> {
        let found = discovery::executable_files(pid);
        let is_mapped = |named: &NamedLibrary| found.iter().any(|found| found.key() == named.file);
        let numbered = (1..).zip(&self.libraries);
        let mapped = numbered.filter(|(_, named)| named.has_plaintext && is_mapped(named));
        mapped.map(|(number, _)| number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::target::{Abi, AttachPoint, Call, Returns};
    use pixie_core::id::ConnectionId;
    use pixie_core::time::MonotonicTime;

    fn library(version: &str) -> (TlsFile, Target) {
        let file = TlsFile {
            path: "libssl".into(),
            library: Some(Library::OpenSsl),
            version: None,
            attached: Vec::new(),
            refused: Vec::new(),
            notes: Vec::new(),
            processes: 0,
        };
        let read = AttachPoint {
            call: Call::Read,
            entry: 0,
            returns: Returns::None,
            deferred: None,
            symbol: "SSL_read".to_owned(),
        };
        let target = Target {
            library: Library::OpenSsl,
            abi: Abi::C,
            version: Some(version.to_owned()),
            points: vec![read],
            notes: Vec::new(),
        };
        (file, target)
    }

    fn add(known: &Known, version: &str, key: Key) -> u32 {
        let (file, target) = library(version);
        known.add(file, Some(&target), key).1
    }

    fn version(known: &Known, target: u32, pid: Pid) -> Option<String> {
        let mut secure = Secure::new(ConnectionId(1), MonotonicTime(0), pid);
        secure.target = target;
        known.name(&mut secure);
        secure.version.map(|version| version.to_string())
    }

    /// No process has so high a number: `PID_MAX_LIMIT` of include/linux/threads.h is 2^22.
    const PID: Pid = Pid(u32::MAX);

    #[test]
    fn a_session_is_named_by_the_number_of_its_library() {
        let known = Known::default();
        add(&known, "3.0", (1, 1));
        let second = add(&known, "1.1", (1, 2));
        assert_eq!(version(&known, second, PID).as_deref(), Some("1.1"));
        assert_eq!(version(&known, 3, PID), None);
    }

    #[test]
    fn without_a_number_it_is_named_if_the_process_has_only_one() {
        let known = Known::default();
        let (first, second) = (add(&known, "3.0", (1, 1)), add(&known, "1.1", (1, 2)));
        assert_eq!(version(&known, 0, PID), None);
        known.mapped(first, PID);
        assert_eq!(version(&known, 0, PID).as_deref(), Some("3.0"));
        known.mapped(second, PID);
        assert_eq!(version(&known, 0, PID), None);
    }

    #[test]
    fn a_process_that_nobody_has_looked_at_yet_is_looked_at() {
        let known = Known::default();
        let own = Pid(std::process::id());
        let files = discovery::executable_files(own);
        let [file, ..] = files.as_slice() else { panic!("this process executes no file") };
        add(&known, "3.0", file.key());
        add(&known, "1.1", (u64::MAX, 1));
        assert_eq!(version(&known, 0, own).as_deref(), Some("3.0"));
    }

    #[test]
    fn a_process_that_has_ended_is_still_named_and_its_successor_is_not_mistaken_for_it() {
        let known = Known::default();
        let (first, second) = (add(&known, "3.0", (1, 1)), add(&known, "1.1", (1, 2)));
        known.mapped(first, PID);
        known.ended(PID);
        assert_eq!(version(&known, 0, PID).as_deref(), Some("3.0"));
        known.mapped(second, PID);
        assert_eq!(version(&known, 0, PID).as_deref(), Some("1.1"));
    }
}
