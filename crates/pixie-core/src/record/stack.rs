use super::Process;
use super::lost::names;
use crate::Text;
use crate::record::heap::{flat, heap};
use crate::time::WallTime;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A call stack, and how often it was sampled in an interval.
///
/// All samples of one stack in an interval make one record: how often it was seen is
/// [`count`](Self::count), and how much time that stands for is [`total`](Self::total).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stack {
    /// When the interval began.
    pub time: WallTime,
    /// How long the interval was; zero when it is not known.
    pub interval: Duration,
    /// The process that was sampled.
    pub process: Arc<Process>,
    /// The thread, where threads were asked to be told apart: its id in the initial pid namespace.
    pub thread: Option<u32>,
    /// Whether it ran or waited.
    pub state: StackState,
    /// How many samples had exactly this stack; of [`StackState::OffCpu`], how often it waited so.
    pub count: u64,
    /// The time that these stand for: on the CPU, `count` times the period of sampling; off the
    /// CPU, how long it waited, measured.
    pub total: Duration,
    /// The frames, leaf first: those of the kernel, if it was in the kernel, and then those of the
    /// program.
    pub frames: Vec<Frame>,
    /// Why the stack does not reach to the function that the thread began with; `None` when it
    /// does.
    pub cut: Option<Text>,
}

names! {
    /// Whether a thread ran or waited when its [`Stack`] was taken.
    StackState {
        /// It ran on a CPU.
        OnCpu "on_cpu",
        /// It waited: for a lock, for input, for its turn.
        OffCpu "off_cpu",
    }
}

/// One frame of a [`Stack`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// The function, demangled; `None` when it could not be named.
    pub function: Option<Text>,
    /// The source file, as the compiler knew it.
    pub file: Option<Text>,
    /// The line in it, counted from 1.
    pub line: Option<u32>,
    /// True when the function was inlined into the next frame's.
    pub inlined: bool,
    /// The file that was mapped there, as the process sees it, or what the kernel calls it:
    /// `[vdso]`, `[kernel]`, the name of a module.
    pub binary: Option<Text>,
    /// The build id of that file, in hexadecimal.
    pub build_id: Option<Text>,
    /// True for a frame of the kernel.
    pub kernel: bool,
    /// The address in the process: of the instruction that ran, in the leaf, and elsewhere the one
    /// that is returned to.
    pub address: u64,
    /// The same address as the file counts: with the build id, it can be named elsewhere.
    pub file_address: Option<u64>,
    /// Why the function could not be named, where it could not.
    pub unknown: Option<Text>,
}

impl Stack {
    /// A stack that was seen `count` times on a CPU in `process`.
    #[must_use]
    pub fn new(process: Arc<Process>, count: u64, frames: Vec<Frame>) -> Self {
        Self {
            time: WallTime::default(),
            interval: Duration::ZERO,
            process,
            thread: None,
            state: StackState::OnCpu,
            count,
            total: Duration::ZERO,
            frames,
            cut: None,
        }
    }
}

impl fmt::Display for Stack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} x{}", self.process.pid, self.process.comm, self.count)?;
        if self.state == StackState::OffCpu {
            write!(formatter, " waited {:.1?}", self.total)?;
        }
        formatter.write_str(":")?;
        for frame in &self.frames {
            match &frame.function {
                Some(function) => write!(formatter, " {function}")?,
                None => write!(formatter, " {:#x}", frame.address)?,
            }
        }
        match &self.cut {
            Some(reason) => write!(formatter, " (cut: {reason})"),
            None => Ok(()),
        }
    }
}

// Names are shared by all the records of a binary.
flat! { Frame }
heap! { Stack { frames } }

#[cfg(feature = "serde")]
mod serialize {
    use super::{Frame, Stack};
    use crate::record::Entries;
    use serde::ser::{Serialize, SerializeMap, Serializer};
    use std::time::Duration;

    impl Entries for Stack {
        fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
            let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            map.serialize_entry("time_unix_ns", &self.time.0)?;
            map.serialize_entry("interval_ns", &nanoseconds(self.interval))?;
            map.serialize_entry("state", &self.state)?;
            map.serialize_entry("count", &self.count)?;
            map.serialize_entry("total_ns", &nanoseconds(self.total))?;
            self.process.entries(map)?;
            map.serialize_entry("thread", &self.thread)?;
            map.serialize_entry("frames", &self.frames)?;
            map.serialize_entry("cut", &self.cut)
        }
    }

    impl Serialize for Frame {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("function", &self.function)?;
            map.serialize_entry("file", &self.file)?;
            map.serialize_entry("line", &self.line)?;
            map.serialize_entry("inlined", &self.inlined)?;
            map.serialize_entry("binary", &self.binary)?;
            map.serialize_entry("build_id", &self.build_id)?;
            map.serialize_entry("kernel", &self.kernel)?;
            map.serialize_entry("address", &self.address)?;
            map.serialize_entry("file_address", &self.file_address)?;
            if let Some(reason) = &self.unknown {
                map.serialize_entry("unknown", reason)?;
            }
            map.end()
        }
    }
}
