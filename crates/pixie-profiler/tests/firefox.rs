//! What is written for the Firefox Profiler, read by its own rules.
#![allow(clippy::unwrap_used, reason = "a test asserts by panicking, in its helpers too")]

use pixie_core::id::Pid;
use pixie_core::record::{Cause, Frame, Lost, Process, Stack, StackState, Stage};
use pixie_core::time::{MonotonicTime, WallTime};
use pixie_profiler::{GroupBy, Measure, Profile};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const START: u64 = 1_700_000_000_000_000_000;

fn function(name: &str) -> Frame {
    let mut frame = Frame::default();
    frame.function = Some(name.into());
    frame.binary = Some("/usr/bin/app".into());
    frame.build_id = Some("0123456789abcdef0011223344556677deadbeef".into());
    frame
}

fn kernel(name: &str) -> Frame {
    let mut frame = function(name);
    (frame.kernel, frame.binary, frame.build_id) = (true, Some("[kernel]".into()), None);
    frame
}

/// A stack of a process in the second that begins so many seconds after the start.
fn stack(process: (u32, &str), second: u64, count: u32, frames: Vec<Frame>) -> Stack {
    let process = Arc::new(Process::new(Pid(process.0), process.1.into()));
    let mut stack = Stack::new(process, count.into(), frames);
    stack.total = Duration::from_millis(10) * count;
    stack.time = WallTime(START + second * 1_000_000_000);
    stack.interval = Duration::from_secs(1);
    stack
}

fn written(profile: &Profile, measure: Measure) -> Written {
    let mut bytes = Vec::new();
    profile.write_firefox(measure, &mut bytes).unwrap();
    Written(serde_json::from_slice(&bytes).unwrap())
}

/// What was written. What has to hold of the form is checked as it is read.
struct Written(Value);

/// A thread: its name, process and id, and whether it is the main one.
type Thread = (String, String, String, bool);
/// When, the functions from the root on, and the weight.
type Sample = (f64, Vec<String>, f64);

impl Written {
    fn table<'a>(table: &'a Value, columns: &[&str]) -> impl Fn(&str, u64) -> &'a Value + use<'a> {
        let length = table["length"].as_u64().unwrap();
        for column in columns {
            let values = table[column].as_array();
            assert_eq!(values.map(Vec::len), usize::try_from(length).ok(), "{column} of {table}");
        }
        move |column, row| {
            assert!(row < length, "{row} of {length}");
            &table[column][usize::try_from(row).unwrap()]
        }
    }

    fn shared<'a>(
        &'a self,
        table: &str,
        columns: &[&str],
    ) -> impl Fn(&str, u64) -> &'a Value + use<'a> {
        Self::table(&self.0["shared"][table], columns)
    }

    fn text(&self, index: &Value) -> &str {
        let index = usize::try_from(index.as_u64().unwrap()).unwrap();
        self.0["shared"]["stringArray"][index].as_str().unwrap()
    }

    /// A frame as `category function@file:line in library`, with `+` for each call that was inlined.
    fn frame(&self, row: u64) -> String {
        let of_address = ["address", "inlineDepth", "category", "subcategory", "func"];
        let of_source = ["nativeSymbol", "innerWindowID", "line", "column"];
        let frame = self.shared("frameTable", &[&of_address[..], &of_source].concat());
        let function = self.shared(
            "funcTable",
            &["name", "isJS", "relevantForJS", "resource", "source", "lineNumber", "columnNumber"],
        );
        let categories = self.0["meta"]["categories"].as_array().unwrap();
        let index = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
        let category = &categories[index(frame("category", row))];
        let part = &category["subcategories"][index(frame("subcategory", row))];
        let func = frame("func", row).as_u64().unwrap();
        let mut told = "+".repeat(index(frame("inlineDepth", row)));
        told += category["name"].as_str().unwrap();
        if part != "Other" {
            told += &format!("/{}", part.as_str().unwrap());
        }
        told += &format!(" {}", self.text(function("name", func)));
        if let Some(source) = function("source", func).as_u64() {
            let sources = self.shared("sources", &["id", "filename"]);
            told += &format!("@{}", self.text(sources("filename", source)));
        }
        if let Some(line) = frame("line", row).as_u64() {
            told += &format!(":{line}");
        }
        if let Some(address) = frame("address", row).as_u64() {
            told += &format!(" {address:#x}");
        }
        match function("resource", func).as_u64() {
            Some(resource) => {
                let resources = self.shared("resourceTable", &["lib", "name", "host", "type"]);
                let library = &self.0["libs"][index(resources("lib", resource))];
                assert_eq!(library["name"], self.text(resources("name", resource)));
                told + " in " + library["path"].as_str().unwrap()
            }
            None => told,
        }
    }

    fn stack(&self, row: &Value) -> Vec<String> {
        let Some(row) = row.as_u64() else { return Vec::new() };
        let stacks = self.shared("stackTable", &["prefix", "frame"]);
        let mut frames = match stacks("prefix", row).as_u64() {
            Some(prefix) => {
                assert!(prefix < row, "callers come before those that they call");
                self.stack(stacks("prefix", row))
            }
            None => Vec::new(),
        };
        frames.push(self.frame(stacks("frame", row).as_u64().unwrap()));
        frames
    }

    fn threads(&self) -> Vec<(Thread, Vec<Sample>)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let threads = self.0["threads"].as_array().unwrap().iter().map(|thread| {
            let samples = &thread["samples"];
            let sample = Self::table(samples, &["time", "stack", "weight"]);
            let rows: Vec<_> = (0..samples["length"].as_u64().unwrap())
                .map(|row| {
                    let number = |column| sample(column, row).as_f64().unwrap();
                    (number("time"), self.stack(sample("stack", row)), number("weight"))
                })
                .collect();
            assert!(rows.windows(2).all(|two| two[0].0 <= two[1].0), "in the order of time");
            let names = (text(&thread["name"]), text(&thread["processName"]));
            let id = format!("{}/{}", text(&thread["pid"]), text(&thread["tid"]));
            ((names.0, names.1, id, thread["isMainThread"].as_bool().unwrap()), rows)
        });
        threads.collect()
    }

    /// How much there is of each stack of a thread.
    fn stacks(&self, thread: usize) -> BTreeMap<Vec<String>, f64> {
        let mut stacks = BTreeMap::new();
        let (_, samples) = self.threads().swap_remove(thread);
        for (_, stack, weight) in samples.into_iter().filter(|(.., weight)| *weight > 0.0) {
            *stacks.entry(stack).or_default() += weight;
        }
        stacks
    }
}

fn with_everything() -> Profile {
    let mut inlined = function("get");
    (inlined.inlined, inlined.line, inlined.file) = (true, Some(3), Some("get.h".into()));
    let mut twice = inlined.clone();
    (twice.function, twice.line) = (Some("at".into()), Some(9));
    let mut outer = function("work");
    (outer.line, outer.file) = (Some(300), Some("work.c".into()));
    let mut unnamed = Frame::default();
    (unnamed.binary, unnamed.file_address) = (Some("/usr/lib/libx.so".into()), Some(0x1234));
    let mut cut = stack((7, "app"), 0, 1, vec![function("main")]);
    cut.cut = Some("depth".into());
    let mut profile = Profile::default();
    let all = vec![kernel("do_read"), twice, inlined, outer, unnamed, function("main")];
    profile.add(&stack((7, "app"), 0, 3, all.clone()));
    profile.add(&stack((7, "app"), 1, 2, all));
    profile.add(&cut);
    profile.add(&stack((7, "app"), 0, 4, Vec::new()));
    profile
}

#[test]
fn every_stack_is_there_from_the_root_to_the_leaf_with_its_count() {
    let written = written(&with_everything(), Measure::Samples);
    let main = "User main in /usr/bin/app";
    let whole = [
        main,
        "User [libx.so] 0x1234 in /usr/lib/libx.so",
        "User work@work.c:300 in /usr/bin/app",
        "+User/Inlined get@get.h:3 in /usr/bin/app",
        "++User/Inlined at@get.h:9 in /usr/bin/app",
        "Kernel do_read in [kernel]",
    ];
    let owned = |frames: &[&str]| frames.iter().map(ToString::to_string).collect::<Vec<_>>();
    let expected = [
        (owned(&["Other app"]), 4.0),
        (owned(&["Other [cut: depth]", main]), 1.0),
        (owned(&whole), 5.0),
    ];
    assert_eq!(written.stacks(0), BTreeMap::from(expected));
    assert_eq!(written.threads().len(), 1);
    assert_eq!(written.0["threads"][0]["samples"]["weightType"], "samples");
}

#[test]
fn what_the_profiler_has_to_know_is_said() {
    let Written(written) = written(&with_everything(), Measure::Samples);
    let meta = &written["meta"];
    assert_eq!(meta["preprocessedProfileVersion"], 60);
    assert_eq!((&meta["interval"], &meta["symbolicated"]), (&10.into(), &true.into()));
    assert_eq!(meta["startTime"], 1_700_000_000_000_u64);
    assert_eq!(meta["profilingEndTime"], 2010);
    let library = &written["libs"][0];
    assert_eq!((&library["name"], &library["path"]), (&"app".into(), &"/usr/bin/app".into()));
    assert_eq!(library["codeId"], "0123456789abcdef0011223344556677deadbeef");
    assert_eq!(library["breakpadId"], "67452301AB89EFCD00112233445566770");
    assert_eq!(written["libs"][1]["codeId"], Value::Null);
    let grey = |category: &Value| category["color"] == "grey";
    assert!(meta["categories"].as_array().unwrap().iter().any(grey));
}

#[test]
fn processes_have_their_threads_the_main_one_first() {
    let mut profile = Profile::new(GroupBy::Thread);
    for (process, thread, count) in
        [((7, "app"), 7, 2), ((7, "app"), 9, 30), ((7, "app"), 8, 3), ((5, "idle"), 5, 1)]
    {
        let mut stack = stack(process, 0, count, vec![function("main")]);
        stack.thread = Some(thread);
        profile.add(&stack);
    }
    // What the same thread was after it executed another program.
    let mut executed = stack((7, "other"), 1, 1, vec![function("main")]);
    executed.thread = Some(7);
    profile.add(&executed);
    let threads = written(&profile, Measure::Samples).threads();
    let threads: Vec<_> = threads.iter().map(|((a, b, c, d), _)| (&**a, &**b, &**c, *d)).collect();
    let expected = [
        ("app", "app", "7/7", true),
        ("other", "other", "7/7.1", false),
        ("app 9", "app", "7/9", false),
        ("app 8", "app", "7/8", false),
        ("idle", "idle", "5/5", true),
    ];
    assert_eq!(threads, expected);
}

#[test]
fn samples_lie_in_the_interval_that_they_are_of() {
    let mut profile = Profile::new(GroupBy::Process).with_intervals();
    let (a, b) = (|| vec![function("a")], || vec![function("b")]);
    for (second, count, frames) in [(0, 1, a()), (0, 3, b()), (1, 8, b()), (5, 2, a())] {
        profile.add(&stack((7, "app"), second, count, frames));
    }
    profile.add(&stack((8, "late"), 5, 1, a()));
    let written = written(&profile, Measure::Samples);
    let threads = written.threads();
    let times = |thread: usize| -> Vec<_> {
        let leaf = |stack: &Vec<String>| match stack.last() {
            Some(frame) => frame.split(' ').nth(1).unwrap().to_owned(),
            None => String::new(),
        };
        threads[thread].1.iter().map(|(time, stack, count)| (*time, leaf(stack), *count)).collect()
    };
    let owned = |rows: &[(f64, &str, f64)]| -> Vec<_> {
        rows.iter().map(|(time, leaf, count)| (*time, leaf.to_string(), *count)).collect()
    };
    let of_app = [
        (250.0, "a", 1.0),
        (1000.0, "b", 3.0),
        (2000.0, "b", 8.0),
        (5000.0, "", 0.0),
        (6000.0, "a", 2.0),
    ];
    assert_eq!(times(0), owned(&of_app));
    assert_eq!(times(1), owned(&[(5000.0, "", 0.0), (6000.0, "a", 1.0)]));
    let used = &written.0["threads"][0]["samples"]["threadCPUDelta"];
    assert_eq!(*used, serde_json::json!([10_000, 30_000, 80_000, 0, 20_000]));
    assert_eq!(written.0["meta"]["sampleUnits"]["threadCPUDelta"], "µs");
}

#[test]
fn time_off_the_cpu_is_told_in_milliseconds() {
    let mut profile = with_everything();
    let mut wait = stack((7, "app"), 0, 4, vec![kernel("schedule"), function("main")]);
    (wait.state, wait.total) = (StackState::OffCpu, Duration::from_micros(1500));
    profile.add(&wait);
    for (measure, kind, weight) in
        [(Measure::BlockedTime, "tracing-ms", 1.5), (Measure::Waits, "samples", 4.0)]
    {
        let written = written(&profile, measure);
        let stack = ["User main in /usr/bin/app", "Kernel schedule in [kernel]"];
        let stacks = written.stacks(0);
        assert_eq!(
            stacks.into_iter().collect::<Vec<_>>(),
            [(stack.map(String::from).to_vec(), weight)]
        );
        let samples = &written.0["threads"][0]["samples"];
        assert_eq!((&samples["weightType"], samples.get("threadCPUDelta")), (&kind.into(), None));
    }
}

#[test]
fn what_is_missing_is_said() {
    let mut profile = Profile::default().with_capacity(2);
    profile.add(&stack((7, "app"), 0, 1, vec![function("a")]));
    profile.add(&stack((7, "app"), 0, 5, vec![function("b")]));
    for (stage, count) in [(Stage::Sampler, 3), (Stage::Stream, 100)] {
        profile.add_lost(&Lost::new(MonotonicTime(1), stage, Cause::TableFull, count, 0));
    }
    let written = written(&profile, Measure::Samples);
    let entries = &written.0["meta"]["extra"][0]["entries"];
    assert_eq!((&entries[0]["value"], &entries[1]["value"]), (&5.into(), &3.into()));
    let (thread, _) = &written.threads()[0];
    assert_eq!(thread.0, "[dropped]");
    assert_eq!(written.stacks(0), BTreeMap::from([(vec!["Other [dropped]".to_owned()], 5.0)]));
    assert_eq!(written.stacks(1).values().sum::<f64>(), 1.0);
}

#[test]
fn names_do_not_break_what_is_written() {
    let mut profile = Profile::default();
    let mut frame = function("a\"b\\c\n</script>\u{1}é");
    frame.file = Some("\"\t.c".into());
    profile.add(&stack((7, "\"},{"), 0, 1, vec![frame]));
    let written = written(&profile, Measure::Samples);
    let frame = "User a\"b\\c </script> é@\"\t.c in /usr/bin/app".to_owned();
    assert_eq!(written.stacks(0), BTreeMap::from([(vec![frame], 1.0)]));
    assert_eq!(written.threads()[0].0.0, "\"},{");
}

#[test]
fn nothing_is_a_profile_too() {
    for profile in [Profile::default(), Profile::default().with_intervals()] {
        assert_eq!(written(&profile, Measure::CpuTime).threads(), []);
    }
}
