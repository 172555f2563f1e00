use pixie_core::record::{Frame, Stack};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

/// Adds up call stacks, and writes them "folded": a line a stack, root first, with its count.
///
/// `flamegraph.pl`, `inferno` and speedscope read this form. The root is the name of the process;
/// functions of the kernel end in `_[k]`, inlined ones in `_[i]`.
///
/// ```
/// use pixie_core::record::{Frame, Process, Stack};
/// use pixie_profiler::FoldedStacks;
/// use std::sync::Arc;
///
/// let process = Arc::new(Process::new(Default::default(), "sort".into()));
/// let mut main = Frame::default();
/// main.function = Some("main".into());
///
/// let mut stacks = FoldedStacks::new(10_000);
/// stacks.add(&Stack::new(process, 3, vec![main]));
/// let mut text = Vec::new();
/// stacks.write(&mut text)?;
/// assert_eq!(text, b"sort;main 3\n");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct FoldedStacks {
    /// Sorted, so that the same samples give the same text.
    counts: BTreeMap<String, u64>,
    capacity: usize,
    dropped: u64,
}

impl FoldedStacks {
    /// Nothing yet; `capacity` is the most different stacks that are kept.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { counts: BTreeMap::new(), capacity, dropped: 0 }
    }

    /// Adds the samples of a stack. When it is a new one and there is no room, they are counted as
    /// dropped.
    pub fn add(&mut self, stack: &Stack) {
        let folded = fold(stack);
        if let Some(count) = self.counts.get_mut(&folded) {
            *count = count.saturating_add(stack.count);
        } else if self.counts.len() < self.capacity {
            self.counts.insert(folded, stack.count);
        } else {
            self.dropped = self.dropped.saturating_add(stack.count);
        }
    }

    /// How many samples were dropped for want of room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Writes all stacks, by name. Dropped samples are a stack of their own, `[dropped]`, so that
    /// the total is right.
    ///
    /// # Errors
    /// Those of `writer`.
    pub fn write(&self, mut writer: impl io::Write) -> io::Result<()> {
        for (stack, count) in &self.counts {
            writeln!(writer, "{stack} {count}")?;
        }
        match self.dropped {
            0 => Ok(()),
            dropped => writeln!(writer, "[dropped] {dropped}"),
        }
    }
}

fn fold(stack: &Stack) -> String {
    let mut folded = String::new();
    push_name(&mut folded, &stack.process.comm.to_str());
    for frame in stack.frames.iter().rev() {
        folded.push(';');
        push_frame(&mut folded, frame);
    }
    folded
}

fn push_frame(folded: &mut String, frame: &Frame) {
    match (&frame.function, &frame.binary) {
        (Some(function), _) => push_name(folded, &function.to_str()),
        (None, Some(binary)) => {
            let path = binary.to_str();
            push_name(folded, &format!("[{}]", path.rsplit('/').next().unwrap_or_default()));
        }
        // Writing to a string does not fail.
        (None, None) => drop(write!(folded, "{:#x}", frame.address)),
    }
    match frame {
        Frame { kernel: true, .. } => folded.push_str("_[k]"),
        Frame { inlined: true, .. } => folded.push_str("_[i]"),
        _ => {}
    }
}

/// Adds a name without what has a meaning in the folded form.
fn push_name(folded: &mut String, name: &str) {
    folded.extend(name.chars().map(|character| match character {
        ';' => ':',
        character if character.is_control() => ' ',
        character => character,
    }));
}

#[cfg(test)]
mod tests {
    use super::FoldedStacks;
    use pixie_core::Text;
    use pixie_core::id::Pid;
    use pixie_core::record::{Frame, Process, Stack};
    use std::sync::Arc;

    fn function(name: &str) -> Frame {
        let mut frame = Frame::default();
        frame.function = Some(Text::from(name));
        frame
    }

    fn stack(count: u64, frames: Vec<Frame>) -> Stack {
        Stack::new(Arc::new(Process::new(Pid(1), "app".into())), count, frames)
    }

    fn text(stacks: &FoldedStacks) -> String {
        let mut text = Vec::new();
        stacks.write(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn equal_stacks_are_added_up_and_written_root_first() {
        let mut stacks = FoldedStacks::new(10);
        let mut kernel = function("do_syscall_64");
        kernel.kernel = true;
        stacks.add(&stack(2, vec![kernel.clone(), function("write"), function("main")]));
        stacks.add(&stack(1, vec![function("main")]));
        stacks.add(&stack(3, vec![kernel, function("write"), function("main")]));
        assert_eq!(text(&stacks), "app;main 1\napp;main;write;do_syscall_64_[k] 5\n");
    }

    #[test]
    fn what_has_no_name_shows_where_it_is() {
        let mut in_library = Frame::default();
        in_library.binary = Some("/usr/lib/libx.so.1".into());
        let mut nowhere = Frame::default();
        nowhere.address = 0x40;
        let mut stacks = FoldedStacks::new(10);
        stacks.add(&stack(1, vec![in_library, nowhere]));
        assert_eq!(text(&stacks), "app;0x40;[libx.so.1] 1\n");
    }

    #[test]
    fn names_cannot_forge_frames_or_lines() {
        let mut stacks = FoldedStacks::new(10);
        stacks.add(&stack(1, vec![function("a;b\nc 7")]));
        assert_eq!(text(&stacks), "app;a:b c 7 1\n");
    }

    #[test]
    fn stacks_beyond_the_capacity_are_counted() {
        let mut stacks = FoldedStacks::new(1);
        stacks.add(&stack(1, vec![function("a")]));
        stacks.add(&stack(5, vec![function("b")]));
        stacks.add(&stack(2, vec![function("a")]));
        assert_eq!(stacks.dropped(), 5);
        assert_eq!(text(&stacks), "app;a 3\n[dropped] 5\n");
    }
}
