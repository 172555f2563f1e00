//! The "processed profile" of the Firefox Profiler, in version 60, which is what later versions read
//! too: `src/types/profile.ts` and `docs-developer/CHANGELOG-formats.md` of
//! <https://github.com/firefox-devtools/profiler>.

mod tables;
mod thread;

use super::json::{Object, Quoted};
use super::{Measure, Profile, Values, of};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use tables::Tables;
use thread::{Sample, Thread, in_order};

/// The version of the processed form, and that of the unprocessed one that it would have come from.
const VERSION: u32 = 60;
const GECKO_VERSION: u32 = 31;

impl Profile {
    /// Writes the profile as the Firefox Profiler reads it: JSON, to be opened in
    /// <https://profiler.firefox.com>.
    ///
    /// Stacks that are grouped by [thread](super::GroupBy::Thread) or [process](super::GroupBy::Process)
    /// are shown as these; of others each group is shown as a process. Functions of programs, those
    /// inlined, and those of the kernel are told apart by categories. Where intervals are
    /// [kept](Self::with_intervals), the samples of a group in an interval lie evenly in it, in an order
    /// that means nothing; else they lie so in the whole time. A sample's weight is its number or its
    /// time; where they are of CPUs, the CPU time is told besides. What was dropped for want of room is a
    /// process of its own, `[dropped]`, so that the total is right; how much that was, and what was
    /// [lost](Self::lost), is among the extra information of the profile.
    ///
    /// # Errors
    /// Those of `writer`.
    pub fn write_firefox(&self, measure: Measure, mut writer: impl io::Write) -> io::Result<()> {
        let tables = Tables::of(self);
        let start = self.whole_span().start;
        Object::write(&mut writer, |profile| {
            profile.object("meta", |meta| {
                self.write_meta(meta)?;
                tables.write_categories(meta)
            })?;
            tables.write_libraries(profile)?;
            profile.object("shared", |shared| tables.write_shared(shared))?;
            profile.objects("threads", self.threads(measure, &tables), |object, thread| {
                thread.write(object, measure, start)
            })
        })?;
        writer.flush()
    }

    fn write_meta<W: io::Write>(&self, meta: &mut Object<'_, W>) -> io::Result<()> {
        let span = self.whole_span();
        for (name, value) in [("product", "pixie"), ("importedFrom", "pixie")] {
            meta.member(name, Quoted(value))?;
        }
        meta.member("oscpu", Quoted(format!("Linux {}", std::env::consts::ARCH)))?;
        meta.member("preprocessedProfileVersion", VERSION)?;
        meta.member("version", GECKO_VERSION)?;
        meta.member("processType", 0)?;
        meta.member("startTime", milliseconds(span.start))?;
        meta.member("profilingStartTime", 0)?;
        let interval = if self.period > 0 { self.period } else { 1_000_000 };
        meta.member("interval", milliseconds(interval))?;
        // What is sampled at the very end would not belong to it any more.
        let end = (span.end - span.start).saturating_add(interval);
        meta.member("profilingEndTime", milliseconds(end))?;
        meta.member("stackwalk", 1)?;
        // What has no name now would get none from a server of symbols.
        meta.member("symbolicated", true)?;
        meta.member("usesOnlyOneStackType", true)?;
        meta.member("sourceCodeIsNotOnSearchfox", true)?;
        meta.member("keepProfileThreadOrder", true)?;
        meta.list("markerSchema", [0; 0])?;
        meta.object("sampleUnits", |units| {
            units.member("time", Quoted("ms"))?;
            units.member("eventDelay", Quoted("ms"))?;
            units.member("threadCPUDelta", Quoted("µs"))
        })?;
        let dropped = self.dropped(Measure::Samples).saturating_add(self.dropped(Measure::Waits));
        let missing = [("dropped for want of room", dropped), ("lost in the kernel", self.lost)];
        meta.objects("extra", [missing], |section, missing| {
            section.member("label", Quoted("Samples that are missing"))?;
            section.objects("entries", missing, |entry, (label, count)| {
                entry.member("label", Quoted(label))?;
                entry.member("format", Quoted("integer"))?;
                entry.member("value", count)
            })
        })
    }

    fn threads(&self, measure: Measure, tables: &Tables) -> Vec<Thread> {
        let mut threads: BTreeMap<u32, Thread> = BTreeMap::new();
        let sample = |stack, values: &Values| Sample {
            stack,
            weight: of(values, measure),
            cpu_time: of(values, Measure::CpuTime),
        };
        self.each_interval(&mut |span, node, values| {
            let Some((group, name)) = tables.group(node) else { return };
            if of(values, measure) > 0 {
                let new = || Thread::of(name, self.owners.get(&group));
                let thread = threads.entry(group).or_insert_with(new);
                thread.add(span, sample(tables.stack_of(node), values));
            }
        });
        let mut threads: Vec<_> = threads.into_values().collect();
        if self.dropped(measure) > 0 {
            let mut dropped = Thread::of("[dropped]", None);
            dropped.add(self.whole_span(), sample(Some(tables.dropped), &self.dropped));
            threads.push(dropped);
        }
        in_order(threads)
    }

    /// What was sampled at each place, by interval where that is known, in the order of time.
    fn each_interval(&self, then: &mut dyn FnMut(Range<u64>, u32, &Values)) {
        match &self.timeline {
            Some(timeline) => timeline.rows().for_each(|(span, node, own)| then(span, node, own)),
            None => {
                for (number, node) in (0..).zip(self.tree.nodes()) {
                    then(self.whole_span(), number, &node.own);
                }
            }
        }
    }

    fn whole_span(&self) -> Range<u64> {
        self.span.clone().unwrap_or_default()
    }
}

fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}
