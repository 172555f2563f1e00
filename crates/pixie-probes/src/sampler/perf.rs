//! The clock that samples: a software event of perf on each CPU (`man 2 perf_event_open`).

use crate::per_cpu::PerCpu;
use crate::sys::{
    PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_SET_BPF, PERF_FORMAT_TOTAL_TIME_ENABLED,
    PERF_TYPE_SOFTWARE, PerfEvent, open_perf_event, perf_ioctl,
};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

const PERF_COUNT_SW_CPU_CLOCK: u64 = 0;
/// Bits of `struct perf_event_attr`.
const DISABLED: u64 = 1;
const EXCLUDE_IDLE: u64 = 1 << 7;
const FREQUENCY: u64 = 1 << 10;

/// One event a CPU that is online.
pub(crate) struct Clocks {
    frequency: u32,
    program: OwnedFd,
    events: PerCpu<OwnedFd>,
}

impl Clocks {
    /// Starts them. `program` runs at each tick.
    pub(crate) fn start(program: OwnedFd, frequency: u32) -> io::Result<Self> {
        let events = PerCpu::open(|cpu| open(program.as_raw_fd(), cpu, frequency))?;
        Ok(Self { frequency, program, events })
    }

    /// Follows CPUs that came or went.
    pub(crate) fn follow(&mut self) {
        self.events.follow(|cpu| open(self.program.as_raw_fd(), cpu, self.frequency));
    }

    /// On how many CPUs there is one.
    pub(crate) fn count(&self) -> usize {
        self.events.count()
    }

    /// Stops them all. Each waits for its CPU; they wait side by side.
    pub(crate) fn stop(self) {
        std::thread::scope(|scope| {
            for event in self.events.into_events() {
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
        read_format: PERF_FORMAT_TOTAL_TIME_ENABLED,
        flags: DISABLED | EXCLUDE_IDLE | FREQUENCY,
        ..PerfEvent::default()
    };
    let event = open_perf_event(attributes, cpu)?;
    perf_ioctl(event.as_fd(), PERF_EVENT_IOC_SET_BPF, program)?;
    perf_ioctl(event.as_fd(), PERF_EVENT_IOC_ENABLE, 0)?;
    Ok(event)
}
