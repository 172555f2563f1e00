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
    /// The source file.
    pub file: Option<Text>,
    /// The line in it, counted from 1.
    pub line: Option<u32>,
    /// True when the function was inlined into the next frame's.
    pub inlined: bool,
    /// The file that was mapped there, or `[kernel]`.
    pub binary: Option<Text>,
    /// The build id of that file, in hexadecimal.
    pub build_id: Option<Text>,
    /// True for a frame of the kernel.
    pub kernel: bool,
    /// The address in the process.
    pub address: u64,
    /// Why the function could not be named, where it could not.
    pub unknown: Option<Text>,
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

#[cfg(feature = "serde")]
mod serialize {
    use super::{Frame, Stack};
    use crate::record::Entries;
    use serde::ser::{Serialize, SerializeMap, Serializer};

    impl Entries for Stack {
        fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
            map.serialize_entry("count", &self.count)?;
            self.process.entries(map)?;
            map.serialize_entry("frames", &self.frames)
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
            if let Some(reason) = &self.unknown {
                map.serialize_entry("unknown", reason)?;
            }
            map.end()
        }
    }
}
