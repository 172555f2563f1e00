//! The clock that samples: a software event of perf on each CPU (`man 2 perf_event_open`).

use crate::kernel::online_cpus;
use crate::sys::{
    PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_SET_BPF, PERF_TYPE_SOFTWARE, PerfEvent, open_perf_event,
    perf_ioctl,
};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

const PERF_COUNT_SW_CPU_CLOCK: u64 = 0;
/// Bits of `struct perf_event_attr`.
const DISABLED: u64 = 1;
const EXCLUDE_IDLE: u64 = 1 << 7;
const FREQUENCY: u64 = 1 << 10;
/// One event a CPU that is online.
pub(crate) struct Clocks {
    frequency: u32,
    program: OwnedFd,
    events: BTreeMap<u32, OwnedFd>,
}

impl Clocks {
    /// Starts them. `program` runs at each tick.
    pub(crate) fn start(program: OwnedFd, frequency: u32) -> io::Result<Self> {
        let mut clocks = Self { frequency, program, events: BTreeMap::new() };
        for cpu in online_cpus()? {
            match open(clocks.program.as_raw_fd(), cpu, frequency) {
                Ok(event) => drop(clocks.events.insert(cpu, event)),
                // It was taken offline just now.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(clocks)
    }

    /// Follows CPUs that came or went: the event of one that went does not come back with it.
    pub(crate) fn follow(&mut self) {
        let Ok(online) = online_cpus() else { return };
        self.events.retain(|cpu, _| online.contains(cpu));
        for cpu in online {
            if !self.events.contains_key(&cpu)
                && let Ok(event) = open(self.program.as_raw_fd(), cpu, self.frequency)
            {
                self.events.insert(cpu, event);
            }
        }
    }

    /// On how many CPUs there is one.
    pub(crate) fn count(&self) -> usize {
        self.events.len()
    }

    /// Stops them all. Each waits for its CPU; they wait side by side.
    pub(crate) fn stop(&mut self) {
        let events = std::mem::take(&mut self.events);
        std::thread::scope(|scope| {
            for event in events.into_values() {
                scope.spawn(move || drop(event));
            }
        });
    }
}

fn open(program: libc::c_int, cpu: u32, frequency: u32) -> io::Result<OwnedFd> {
    let attributes = PerfEvent {
        kind: PERF_TYPE_SOFTWARE,
        config: PERF_COUNT_SW_CPU_CLOCK,
        sample_period: frequency.into(),
        flags: DISABLED | EXCLUDE_IDLE | FREQUENCY,
        ..PerfEvent::default()
    };
    let event = open_perf_event(attributes, cpu)?;
    perf_ioctl(event.as_fd(), PERF_EVENT_IOC_SET_BPF, program)?;
    perf_ioctl(event.as_fd(), PERF_EVENT_IOC_ENABLE, 0)?;
    Ok(event)
}

/// Waits until one of the rings behind these has something, or the time is up.
pub(crate) fn wait(rings: &[BorrowedFd<'_>], milliseconds: i32) -> io::Result<bool> {
    let readable = |ring: &BorrowedFd<'_>| libc::pollfd {
        fd: ring.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let mut polls: Vec<_> = rings.iter().map(readable).collect();
    // SAFETY: so many live descriptions are passed as is said.
    match unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, milliseconds) } {
        -1 => Err(io::Error::last_os_error()),
        ready => Ok(ready > 0),
    }
}
