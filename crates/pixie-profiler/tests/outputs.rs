//! The forms in which profiles are written, as other programs read them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test asserts by panicking, in its helpers too"
)]

use flate2::read::GzDecoder;
use pixie_core::Text;
use pixie_core::id::Pid;
use pixie_core::record::{Cause, Frame, Lost, Process, Stack, StackState, Stage};
use pixie_core::time::{MonotonicTime, WallTime};
use pixie_profiler::{FlameGraph, GroupBy, Measure, Profile};
use std::io::Read as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

fn function(name: &str) -> Frame {
    let mut frame = Frame::default();
    frame.function = Some(Text::from(name));
    frame.binary = Some("/usr/bin/app".into());
    frame
}

fn kernel(name: &str) -> Frame {
    let mut frame = function(name);
    (frame.kernel, frame.binary) = (true, Some("[kernel]".into()));
    frame
}

fn stack(count: u64, frames: Vec<Frame>) -> Stack {
    let mut stack = Stack::new(Arc::new(Process::new(Pid(7), "app".into())), count, frames);
    stack.total = Duration::from_millis(10) * u32::try_from(count).unwrap();
    stack.time = WallTime(1_700_000_000_000_000_000);
    stack.interval = Duration::from_secs(1);
    stack
}

fn waiting(count: u64, total: Duration, frames: Vec<Frame>) -> Stack {
    let mut stack = stack(count, frames);
    (stack.state, stack.total) = (StackState::OffCpu, total);
    stack
}

fn profile(stacks: &[Stack]) -> Profile {
    let mut profile = Profile::default();
    stacks.iter().for_each(|stack| profile.add(stack));
    profile
}

fn folded(profile: &Profile, measure: Measure) -> String {
    let mut text = Vec::new();
    profile.write_folded(measure, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn pprof(profile: &Profile) -> Vec<u8> {
    let mut bytes = Vec::new();
    profile.write_pprof(&mut bytes).unwrap();
    bytes
}

fn flame_graph(profile: &Profile) -> String {
    let mut svg = Vec::new();
    profile.write_flame_graph(&FlameGraph::new(Measure::Samples), &mut svg).unwrap();
    String::from_utf8(svg).unwrap()
}

#[test]
fn equal_stacks_are_added_up_and_written_root_first() {
    let write = || vec![kernel("do_syscall_64"), function("write"), function("main")];
    let profile =
        profile(&[stack(2, write()), stack(1, vec![function("main")]), stack(3, write())]);
    let expected = "app;main 1\napp;main;write;do_syscall_64_[k] 5\n";
    assert_eq!(folded(&profile, Measure::Samples), expected);
    let expected = "app;main 10000\napp;main;write;do_syscall_64_[k] 50000\n";
    assert_eq!(folded(&profile, Measure::CpuTime), expected);
    assert_eq!((profile.total(Measure::Samples), profile.total(Measure::Waits)), (6, 0));
}

#[test]
fn what_has_no_name_shows_where_it_is() {
    let mut in_library = Frame::default();
    in_library.binary = Some("/usr/lib/libx.so.1".into());
    let mut elsewhere = in_library.clone();
    elsewhere.file_address = Some(0x50);
    let stacks = [stack(1, vec![in_library, Frame::default()]), stack(1, vec![elsewhere])];
    let text = folded(&profile(&stacks), Measure::Samples);
    assert_eq!(text, "app;[libx.so.1] 1\napp;[unknown];[libx.so.1] 1\n");
}

#[test]
fn a_stack_that_was_cut_does_not_pass_for_a_whole_one() {
    let mut cut = stack(1, vec![function("main")]);
    cut.cut = Some("no unwind information".into());
    let text = folded(&profile(&[cut]), Measure::Samples);
    assert_eq!(text, "app;[cut: no unwind information];main 1\n");
}

#[test]
fn names_cannot_forge_frames_lines_or_markup() {
    let profile = profile(&[stack(1, vec![function("a;b\nc 7</title><script>")])]);
    let text = folded(&profile, Measure::Samples);
    assert_eq!(text, "app;a:b c 7</title><script> 1\n");
    let svg = flame_graph(&profile);
    assert!(svg.contains("a;b c 7&lt;/title&gt;&lt;script&gt;"), "{svg}");
    assert_eq!(svg.matches("<script>").count(), 1, "our own");
}

#[test]
fn stacks_beyond_the_capacity_are_counted() {
    let mut profile = Profile::default().with_capacity(2);
    profile.add(&stack(1, vec![function("a")]));
    profile.add(&stack(5, vec![function("b")]));
    profile.add(&stack(2, vec![function("a")]));
    assert_eq!(profile.dropped(Measure::Samples), 5);
    assert_eq!(folded(&profile, Measure::Samples), "[dropped] 5\napp;a 3\n");
    assert!(flame_graph(&profile).contains("5 samples more found no room"));
}

#[test]
fn time_on_and_off_the_cpu_are_told_apart() {
    let wait = waiting(4, Duration::from_micros(1500), vec![kernel("schedule"), function("main")]);
    let profile = profile(&[stack(1, vec![function("main")]), wait]);
    assert_eq!(folded(&profile, Measure::Samples), "app;main 1\n");
    assert_eq!(folded(&profile, Measure::Waits), "app;main;schedule_[k] 4\n");
    assert_eq!(folded(&profile, Measure::BlockedTime), "app;main;schedule_[k] 1500\n");
}

#[test]
fn stacks_are_grouped_by_what_is_asked_for() {
    let mut process = Process::new(Pid(7), "app".into());
    process.container =
        Some("3f2a9c8b7d6e5f40312233445566778899aabbccddeeff00112233445566aabb".into());
    process.exe = Some("/usr/bin/app".into());
    let mut stack = Stack::new(Arc::new(process), 1, vec![function("main")]);
    stack.thread = Some(8);
    for (group, root) in [
        (GroupBy::Command, "app"),
        (GroupBy::Process, "app 7"),
        (GroupBy::Thread, "app 8"),
        (GroupBy::Container, "3f2a9c8b7d6e;app"),
        (GroupBy::Binary, "/usr/bin/app"),
    ] {
        let mut profile = Profile::new(group);
        profile.add(&stack);
        assert_eq!(folded(&profile, Measure::Samples), format!("{root};main 1\n"));
    }
}

#[test]
fn a_flame_graph_has_a_frame_for_each_function_of_some_size() {
    let profile = profile(&[
        stack(9999, vec![function("large"), function("main")]),
        stack(1, vec![function("small"), function("main")]),
    ]);
    let svg = flame_graph(&profile);
    assert_eq!(svg.matches("class=\"f\"").count(), 4, "all, app, main, large");
    assert!(svg.contains("<title>large — /usr/bin/app (9999 samples, 99.99%)</title>"), "{svg}");
    assert!(!svg.contains("small"));
    assert_eq!(flame_graph(&Profile::default()).matches("class=\"f\"").count(), 1);
}

/// A profile as pprof's own description of the form has it, with its strings put in.
#[derive(Debug, Default)]
struct Decoded {
    types: Vec<(String, String)>,
    samples: Vec<DecodedSample>,
    duration: u64,
    period: u64,
    comments: Vec<String>,
}

/// Function names, leaf first, those inlined told by a `+`; and values and labels.
type DecodedSample = (Vec<String>, Vec<u64>, Vec<(String, String)>);

type Fields<'a> = Vec<(u64, u64, &'a [u8])>;

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

/// The fields of a message: number, and value or bytes.
fn fields(mut bytes: &[u8]) -> Fields<'_> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let value = varint(&mut bytes);
        let content = match key & 7 {
            0 => &[][..],
            2 => bytes.split_off(..usize::try_from(value).unwrap()).unwrap(),
            kind => unreachable!("wire type {kind}"),
        };
        fields.push((key >> 3, value, content));
    }
    fields
}

fn one(fields: &Fields<'_>, number: u64) -> u64 {
    fields.iter().find(|(field, ..)| *field == number).map_or(0, |(_, value, _)| *value)
}

fn packed(fields: &Fields<'_>, number: u64) -> Vec<u64> {
    let mut bytes = fields.iter().find(|(field, ..)| *field == number).unwrap().2;
    std::iter::from_fn(|| (!bytes.is_empty()).then(|| varint(&mut bytes))).collect()
}

fn decode(compressed: &[u8]) -> Decoded {
    let mut bytes = Vec::new();
    GzDecoder::new(compressed).read_to_end(&mut bytes).unwrap();
    let profile = fields(&bytes);
    let all = |number| profile.iter().filter(move |(field, ..)| *field == number);
    let strings: Vec<_> = all(6).map(|(.., text)| str::from_utf8(text).unwrap()).collect();
    assert_eq!(strings[0], "");
    let text = |number: u64| strings[usize::try_from(number).unwrap()].to_owned();
    let table = |number| -> Vec<Fields<'_>> { all(number).map(|(.., it)| fields(it)).collect() };
    let by_id = |table: &Vec<Fields<'_>>, id: u64| {
        table.iter().position(|entry| one(entry, 1) == id).unwrap_or_else(|| panic!("no {id}"))
    };
    let (locations, functions, mappings) = (table(4), table(5), table(3));
    let mut decoded = Decoded {
        types: table(1).iter().map(|it| (text(one(it, 1)), text(one(it, 2)))).collect(),
        duration: one(&profile, 10),
        period: one(&profile, 12),
        comments: all(13).map(|(_, number, _)| text(*number)).collect(),
        ..Decoded::default()
    };
    for sample in table(2) {
        let mut names = Vec::new();
        for location in packed(&sample, 1) {
            let location = &locations[by_id(&locations, location)];
            let mapping = one(location, 2);
            assert!(mapping == 0 || by_id(&mappings, mapping) < mappings.len());
            let lines: Vec<_> = location.iter().filter(|(field, ..)| *field == 4).collect();
            for (index, (.., line)) in lines.iter().enumerate() {
                let line = fields(line);
                let function = &functions[by_id(&functions, one(&line, 1))];
                let inlined = if index + 1 < lines.len() { "+" } else { "" };
                let number = one(&line, 2);
                names.push(format!("{}:{number}{inlined}", text(one(function, 2))));
            }
            if lines.is_empty() {
                names.push(format!("{:#x}", one(location, 3)));
            }
        }
        let labels = sample.iter().filter(|(field, ..)| *field == 3).map(|(.., label)| {
            let label = fields(label);
            (text(one(&label, 1)), text(one(&label, 2)))
        });
        decoded.samples.push((names, packed(&sample, 2), labels.collect()));
    }
    decoded
}

fn with_everything() -> Profile {
    let mut inlined = function("get");
    (inlined.inlined, inlined.line, inlined.file) = (true, Some(3), Some("get.h".into()));
    let mut outer = function("work");
    (outer.line, outer.build_id) = (Some(300), Some("abcd".into()));
    let mut unnamed = Frame::default();
    (unnamed.binary, unnamed.file_address) = (Some("/usr/lib/libx.so".into()), Some(0x1234));
    let wait = vec![kernel("schedule"), function("main")];
    profile(&[
        stack(3, vec![inlined, outer, unnamed, function("main")]),
        waiting(2, Duration::from_millis(7), wait),
    ])
}

#[test]
fn pprof_has_every_sample_with_its_frames_and_values() {
    let decoded = decode(&pprof(&with_everything()));
    let types = [
        ("samples", "count"),
        ("cpu", "nanoseconds"),
        ("waits", "count"),
        ("blocked", "nanoseconds"),
    ];
    assert_eq!(decoded.types, types.map(|(kind, unit)| (kind.to_owned(), unit.to_owned())));
    let label = vec![("group".to_owned(), "app".to_owned())];
    let expected = [
        (vec!["get:3+", "work:300", "0x1234", "main:0", "app:0"], vec![3, 30_000_000, 0, 0]),
        (vec!["schedule:0", "main:0", "app:0"], vec![0, 0, 2, 7_000_000]),
    ];
    let expected = expected.map(|(names, values)| {
        (names.into_iter().map(str::to_owned).collect(), values, label.clone())
    });
    assert_eq!(decoded.samples, expected);
    assert_eq!((decoded.duration, decoded.period), (1_000_000_000, 10_000_000));
    assert!(decoded.comments.is_empty());
}

#[test]
fn what_was_dropped_is_said_in_pprof() {
    let mut profile = Profile::default().with_capacity(1);
    profile.add(&stack(5, vec![function("b")]));
    let decoded = decode(&pprof(&profile));
    assert_eq!(decoded.comments, ["5 samples were dropped"]);
    assert_eq!(decoded.types.len(), 2);
}

#[test]
fn what_was_lost_is_said_in_pprof_and_in_a_flame_graph() {
    let mut profile = with_everything();
    profile.add_lost(&Lost::new(MonotonicTime(1), Stage::Sampler, Cause::TableFull, 3, 0));
    assert_eq!(decode(&pprof(&profile)).comments, ["3 samples were lost in the kernel"]);
    assert!(flame_graph(&profile).contains("(3 samples were lost in the kernel)"));
}

#[test]
fn go_reads_what_is_written_as_pprof() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("profile.pb.gz");
    std::fs::write(&path, pprof(&with_everything())).unwrap();
    let mut go = Command::new("go");
    go.args(["tool", "pprof", "-raw"]).arg(&path).env("PPROF_TMPDIR", folder.path());
    let Ok(output) = go.output() else {
        println!("skipped: apt-get install golang-go");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for expected in [
        "PeriodType: cpu nanoseconds",
        "Period: 10000000",
        "samples/count cpu/nanoseconds[dflt] waits/count blocked/nanoseconds",
        "get get.h:3",
        "work :300",
        "schedule",
        "abcd",
        "group:[app]",
    ] {
        assert!(text.contains(expected), "no {expected:?} in {text}");
    }
}
