//! Stacks added up, and the forms in which they are written.

mod firefox;
mod flame_graph;
mod folded;
mod frame;
mod json;
mod pprof;
mod table;
mod timeline;
mod tree;

pub use flame_graph::FlameGraph;

use frame::{Frames, ProfileFrame};
use pixie_core::Text;
use pixie_core::record::{Lost, Stack, StackState, Stage};
use std::collections::HashMap;
use std::ops::Range;
use timeline::Timeline;
use tree::{Node, Tree};

/// Adds up call stacks, and writes them as other tools read them: folded stacks, pprof, flame
/// graphs, the JSON of the Firefox Profiler.
///
/// ```
/// use pixie_core::record::{Frame, Process, Stack};
/// use pixie_profiler::{Measure, Profile};
/// use std::sync::Arc;
///
/// let process = Arc::new(Process::new(Default::default(), "sort".into()));
/// let mut main = Frame::default();
/// main.function = Some("main".into());
///
/// let mut profile = Profile::default();
/// profile.add(&Stack::new(process, 3, vec![main]));
/// let mut text = Vec::new();
/// profile.write_folded(Measure::Samples, &mut text)?;
/// assert_eq!(text, b"sort;main 3\n");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Stacks are kept as a tree of functions: addresses within a function are one, unless the function
/// has no name. Stacks that were cut have the reason where their root would be, so that none is
/// taken for a whole one.
#[derive(Debug)]
pub struct Profile {
    group_by: GroupBy,
    frames: Frames,
    tree: Tree,
    /// What found no room.
    dropped: Values,
    /// What never came, as [`Lost`] tells.
    lost: u64,
    /// Whose stacks are below a group, where it is of one process.
    owners: HashMap<u32, Owner>,
    /// Where it is kept what was sampled when.
    timeline: Option<Timeline>,
    /// Of the first on-CPU stack, in nanoseconds.
    period: u64,
    /// From the first interval's begin to the last one's end, in nanoseconds since the Unix epoch.
    span: Option<Range<u64>>,
}

/// The process that a group of stacks is of, and the thread where threads are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    comm: Text,
    pid: u32,
    thread: u32,
}

/// What stacks are told apart by, beside their frames. Its name is the root of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupBy {
    /// The name of the process (`/proc/PID/comm`).
    #[default]
    Command,
    /// The process: its name and id.
    Process,
    /// The thread, where the stacks have it: the name of the process and the thread's id.
    Thread,
    /// The container, by the first 12 digits of its id, and the name of the process in it.
    Container,
    /// The path of the executable.
    Binary,
}

impl GroupBy {
    fn name(self, stack: &Stack) -> Vec<Text> {
        let process = &stack.process;
        let comm = &process.comm;
        match self {
            Self::Command => vec![comm.clone()],
            Self::Process => vec![format!("{comm} {}", process.pid).into()],
            Self::Thread => {
                let thread = stack.thread.unwrap_or(process.pid.0);
                vec![format!("{comm} {thread}").into()]
            }
            Self::Container => {
                let container = match &process.container {
                    Some(id) => id.to_str().chars().take(12).collect::<String>().into(),
                    None => Text::from("no container"),
                };
                vec![container, comm.clone()]
            }
            Self::Binary => vec![process.exe.clone().unwrap_or_else(|| comm.clone())],
        }
    }

    fn owner(self, stack: &Stack) -> Option<Owner> {
        let process = &stack.process;
        let pid = process.pid.0;
        let thread = match self {
            Self::Process => pid,
            Self::Thread => stack.thread.unwrap_or(pid),
            Self::Command | Self::Container | Self::Binary => return None,
        };
        Some(Owner { comm: process.comm.clone(), pid, thread })
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Measure {
    /// How often it was sampled on a CPU.
    #[default]
    Samples,
    /// The CPU time that the samples stand for, in microseconds where it is written folded.
    CpuTime,
    /// How often it waited.
    Waits,
    /// How long it waited, in microseconds where it is written folded.
    BlockedTime,
}

impl Measure {
    const ALL: [Self; 4] = [Self::Samples, Self::CpuTime, Self::Waits, Self::BlockedTime];
}

/// One number a [`Measure`], in the order of [`Measure::ALL`]; times in nanoseconds.
type Values = [u64; 4];

fn of(values: &Values, measure: Measure) -> u64 {
    let [samples, cpu_time, waits, blocked_time] = *values;
    match measure {
        Measure::Samples => samples,
        Measure::CpuTime => cpu_time,
        Measure::Waits => waits,
        Measure::BlockedTime => blocked_time,
    }
}

fn add(values: &mut Values, more: Values) {
    for (value, more) in values.iter_mut().zip(more) {
        *value = value.saturating_add(more);
    }
}

/// The most places in the tree of functions, as long as nothing else was said.
const NODES: usize = 1 << 20;

impl Default for Profile {
    fn default() -> Self {
        Self::new(GroupBy::default())
    }
}

impl Profile {
    /// Nothing yet.
    #[must_use]
    pub fn new(group_by: GroupBy) -> Self {
        Self {
            group_by,
            frames: Frames::default(),
            tree: Tree::new(NODES),
            dropped: Values::default(),
            lost: 0,
            owners: HashMap::new(),
            timeline: None,
            period: 0,
            span: None,
        }
    }

    /// The same with room for so many places in the tree of functions, each of about 100 bytes.
    /// Default 1,048,576.
    #[must_use]
    pub fn with_capacity(mut self, places: usize) -> Self {
        self.tree = Tree::new(places);
        self.timeline = self.timeline.map(|_| Timeline::new(places));
        self
    }

    /// The same, which keeps what was sampled in each interval, for the one form that shows when it was:
    /// [`write_firefox`](Self::write_firefox). Each distinct stack of each interval takes about 60 bytes.
    /// There are at most as many of these as there are [places](Self::with_capacity): when that is not
    /// enough, neighbouring intervals become one.
    #[must_use]
    pub fn with_intervals(mut self) -> Self {
        self.timeline = Some(Timeline::new(self.tree.capacity()));
        self
    }

    /// Adds the samples of a stack. When there is no room for it, they are counted as dropped.
    pub fn add(&mut self, stack: &Stack) {
        let total = u64::try_from(stack.total.as_nanos()).unwrap_or(u64::MAX);
        let values = match stack.state {
            StackState::OffCpu => [0, 0, stack.count, total],
            _ => [stack.count, total, 0, 0],
        };
        if self.period == 0 && stack.state == StackState::OnCpu {
            self.period = total.checked_div(stack.count).unwrap_or_default();
        }
        let interval = u64::try_from(stack.interval.as_nanos()).unwrap_or(u64::MAX);
        let (start, end) = (stack.time.0, stack.time.0.saturating_add(interval));
        if start > 0 {
            let span = self.span.get_or_insert(start..end);
            *span = span.start.min(start)..span.end.max(end);
        }
        match self.place(stack) {
            Some(node) => {
                self.tree.add(node, values);
                if let Some(timeline) = &mut self.timeline {
                    timeline.add(start..end, node, values);
                }
            }
            None => add(&mut self.dropped, values),
        }
    }

    /// Notes that samples were lost before they became stacks, if it is that that was lost: those who
    /// read what is written should know. Their stacks are not known, nor whether they ran or waited.
    pub fn add_lost(&mut self, lost: &Lost) {
        if lost.stage == Stage::Sampler {
            self.lost = self.lost.saturating_add(lost.count);
        }
    }

    /// How many samples were lost before they became stacks, as far as that was [told](Self::add_lost).
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// How much of `measure` there is, without what was dropped; times in nanoseconds.
    #[must_use]
    pub fn total(&self, measure: Measure) -> u64 {
        self.tree.nodes().iter().map(|node| of(&node.own, measure)).fold(0, u64::saturating_add)
    }

    /// How much of `measure` was dropped for want of room; times in nanoseconds.
    #[must_use]
    pub fn dropped(&self, measure: Measure) -> u64 {
        of(&self.dropped, measure)
    }

    /// True when there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty() && self.dropped == Values::default()
    }

    /// The place of a stack's leaf in the tree.
    fn place(&mut self, stack: &Stack) -> Option<u32> {
        let mut node = Tree::ROOT;
        for name in self.group_by.name(stack) {
            node = self.tree.child(node, self.frames.of(ProfileFrame::group(name)))?;
        }
        if let Some(owner) = self.group_by.owner(stack) {
            self.owners.entry(node).or_insert(owner);
        }
        if let Some(reason) = &stack.cut {
            node = self.tree.child(node, self.frames.of(ProfileFrame::cut(reason)))?;
        }
        for frame in stack.frames.iter().rev() {
            node = self.tree.child(node, self.frames.of(ProfileFrame::of(frame)))?;
        }
        Some(node)
    }

    /// The frames from a place up to the root.
    fn path<'a>(&'a self, node: &Node) -> impl Iterator<Item = (u32, &'a ProfileFrame)> {
        let path = self.tree.path(node);
        path.map(|frame| (frame, self.frames.get(frame)))
    }
}
