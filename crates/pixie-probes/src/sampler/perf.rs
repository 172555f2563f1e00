//! The clock that samples: an event of perf on each CPU (`man 2 perf_event_open`).

use crate::per_cpu::PerCpu;
use crate::sys::{
    PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_SET_BPF, PERF_FORMAT_TOTAL_TIME_ENABLED,
    PERF_TYPE_HARDWARE, PERF_TYPE_SOFTWARE, PerfEvent, open_perf_event, perf_ioctl,
};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

const PERF_COUNT_HW_CPU_CYCLES: u64 = 0;
const PERF_COUNT_SW_CPU_CLOCK: u64 = 0;
/// Bits of `struct perf_event_attr`.
const DISABLED: u64 = 1;
const EXCLUDE_IDLE: u64 = 1 << 7;
const FREQUENCY: u64 = 1 << 10;

/// What it goes by.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Clock {
    /// Cycles that the processor counts. Where it has done enough of them it interrupts itself, also where
    /// the kernel does not let others interrupt.
    Cycles,
    /// A timer of the kernel.
    Timer,
}

impl Clock {
    /// How the report calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cycles => "perf_event/cpu-cycles",
            Self::Timer => "perf_event/cpu-clock",
        }
    }

    fn event(self) -> (u32, u64) {
        match self {
            Self::Cycles => (PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES),
            Self::Timer => (PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK),
        }
    }
}

/// One event a CPU that is online.
pub(crate) struct Clocks {
    clock: Clock,
    frequency: u32,
    program: OwnedFd,
    events: PerCpu<OwnedFd>,
}

impl Clocks {
    /// Starts them. `program` runs at each tick.
    pub(crate) fn start(clock: Clock, program: OwnedFd, frequency: u32) -> io::Result<Self> {
        let events = PerCpu::open(|cpu| open(clock, program.as_raw_fd(), cpu, frequency));
        let events = events.map_err(|error| match (clock, error.raw_os_error()) {
            (Clock::Cycles, Some(libc::ENOENT | libc::EOPNOTSUPP)) => io::Error::new(
                io::ErrorKind::Unsupported,
                "no cycles are counted here, as in most virtual machines; sampled by a timer",
            ),
            _ => error,
        })?;
        if events.count() == 0 {
            return Err(io::Error::other("there is no CPU that could be sampled"));
        }
        Ok(Self { clock, frequency, program, events })
    }

    /// Follows CPUs that came or went.
    pub(crate) fn follow(&mut self) {
        self.events.follow(|cpu| open(self.clock, self.program.as_raw_fd(), cpu, self.frequency));
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

fn open(clock: Clock, program: libc::c_int, cpu: u32, frequency: u32) -> io::Result<OwnedFd> {
    let (kind, config) = clock.event();
    let attributes = PerfEvent {
        kind,
        config,
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
