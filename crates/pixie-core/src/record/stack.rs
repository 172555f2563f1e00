use super::Process;
use crate::Text;
use std::fmt;
use std::sync::Arc;

/// A call stack, and how often it was sampled in an interval.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stack {
    /// The process that was sampled.
    pub process: Arc<Process>,
    /// How many samples had exactly this stack.
    pub count: u64,
    /// The frames, leaf first.
    pub frames: Vec<Frame>,
}

/// One frame of a [`Stack`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// The function, demangled; `None` when it could not be named.
    pub function: Option<Text>,
    /// The file that was mapped there, or `[kernel]`.
    pub binary: Option<Text>,
    /// True for a frame of the kernel.
    pub kernel: bool,
    /// The address in the process.
    pub address: u64,
}

impl Stack {
    /// A stack that was seen `count` times in `process`.
    #[must_use]
    pub fn new(process: Arc<Process>, count: u64, frames: Vec<Frame>) -> Self {
        Self { process, count, frames }
    }
}

impl fmt::Display for Stack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {} x{}:", self.process.pid, self.process.comm, self.count)?;
        for frame in &self.frames {
            match &frame.function {
                Some(function) => write!(formatter, " {function}")?,
                None => write!(formatter, " {:#x}", frame.address)?,
            }
        }
        Ok(())
    }
}
