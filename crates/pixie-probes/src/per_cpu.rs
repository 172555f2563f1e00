//! An event of perf on each CPU, while CPUs come and go.

use crate::kernel::online_cpus;
use crate::sys::perf_enabled_ns;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How often it is looked whether CPUs came or went.
const EVERY: Duration = Duration::from_secs(2);

/// One event a CPU that is online.
pub(crate) struct PerCpu<T> {
    events: BTreeMap<u32, Followed<T>>,
    looked: Instant,
}

struct Followed<T> {
    event: T,
    /// For how long it had been enabled when it was last looked at, in ns.
    enabled: u64,
}

impl<T: AsFd> PerCpu<T> {
    /// Opens them, each with [`PERF_FORMAT_TOTAL_TIME_ENABLED`](crate::sys::PERF_FORMAT_TOTAL_TIME_ENABLED).
    ///
    /// # Errors
    /// When CPUs cannot be listed, or one that is online cannot have an event.
    pub(crate) fn open(open: impl Fn(u32) -> io::Result<T>) -> io::Result<Self> {
        let mut events = BTreeMap::new();
        for cpu in online_cpus()? {
            match open(cpu) {
                Ok(event) => drop(events.insert(cpu, Followed { event, enabled: 0 })),
                // It was taken offline just now.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { events, looked: Instant::now() })
    }

    /// Every so often, follows CPUs that came or went. True if there were any: of what happened on them
    /// something may be missing.
    pub(crate) fn follow(&mut self, open: impl Fn(u32) -> io::Result<T>) -> bool {
        if self.looked.elapsed() < EVERY {
            return false;
        }
        self.looked = Instant::now();
        let before = self.events.len();
        // The time of an event stands still from when its CPU goes, and stays so if that comes back, soon
        // or after the machine was suspended.
        self.events.retain(|_, followed| {
            let enabled = perf_enabled_ns(followed.event.as_fd()).unwrap_or(0);
            std::mem::replace(&mut followed.enabled, enabled) < enabled
        });
        let mut changed = self.events.len() != before;
        for cpu in online_cpus().unwrap_or_default() {
            if !self.events.contains_key(&cpu)
                && let Ok(event) = open(cpu)
            {
                self.events.insert(cpu, Followed { event, enabled: 0 });
                changed = true;
            }
        }
        changed
    }

    /// On how many CPUs there is one.
    pub(crate) fn count(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.events.values().map(|followed| &followed.event)
    }

    pub(crate) fn into_events(self) -> impl Iterator<Item = T> {
        self.events.into_values().map(|followed| followed.event)
    }
}
