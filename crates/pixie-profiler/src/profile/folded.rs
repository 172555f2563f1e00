use super::frame::Kind;
use super::{Measure, Profile, ProfileFrame, of};
use std::collections::BTreeMap;
use std::io;

impl Profile {
    /// Writes all stacks "folded": a line a stack, root first, with its number: of samples or waits,
    /// or microseconds. `flamegraph.pl`, `inferno` and speedscope read this form.
    ///
    /// Functions of the kernel end in `_[k]`, inlined ones in `_[i]`. The lines are sorted, so that
    /// the same samples give the same text. What was dropped is a stack of its own, `[dropped]`, so
    /// that the total is right.
    ///
    /// # Errors
    /// Those of `writer`.
    pub fn write_folded(&self, measure: Measure, mut writer: impl io::Write) -> io::Result<()> {
        let mut lines: BTreeMap<String, u64> = BTreeMap::new();
        for node in self.tree.nodes() {
            let value = of(&node.own, measure);
            if value > 0 {
                let mut frames: Vec<_> = self.path(node).map(|(_, frame)| folded(frame)).collect();
                frames.reverse();
                let sum = lines.entry(frames.join(";")).or_default();
                *sum = sum.saturating_add(value);
            }
        }
        if self.dropped(measure) > 0 {
            lines.insert("[dropped]".to_owned(), self.dropped(measure));
        }
        let unit = match measure {
            Measure::Samples | Measure::Waits => 1,
            Measure::CpuTime | Measure::BlockedTime => 1000,
        };
        for (stack, value) in lines {
            writeln!(writer, "{stack} {}", value / unit)?;
        }
        Ok(())
    }
}

/// A frame's name, without what has a meaning in the folded form.
fn folded(frame: &ProfileFrame) -> String {
    let mut name = frame.shown().replace(';', ":");
    match frame.kind {
        Kind::Kernel => name.push_str("_[k]"),
        Kind::Inlined => name.push_str("_[i]"),
        _ => {}
    }
    name
}
