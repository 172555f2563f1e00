//! Call stacks of programs that know their own: one program, in each of its modes.

use crate::cgroup::Cgroup;
use crate::programs;
use crate::runner::{Outcome, Setup, skip, tests};
use crate::stacks::{Known, Sampled, Sampling, Share, is_of_unknown_process, names};
use pixie::record::{Stack, StackState};
use pixie::{Profiling, Text, Tracer};
use std::fs;
use std::time::{Duration, Instant};

tests! {
    once: chains, the_leaf_of_a_vdso, two_to_one, forked_and_executed, short_lives,
        deep_recursion, threads, waits, by_cgroup, by_cycles, beside_traffic, nobody_wants_stacks;
    soak: a_thousand_lives_a_second;
}

/// How often it is sampled: on an emulated machine, less often.
pub(crate) fn frequency(setup: &Setup) -> u32 {
    if setup.slow > 1 { 99 } else { 997 }
}

/// The modes of `stacks` whose chain is known in full.
const MODES: &[&str] =
    &["chain", "frames", "recursion", "signal", "alternate", "callback", "plt", "thread"];

fn chains(setup: &Setup) -> Outcome {
    let mut all = Vec::new();
    for mode in MODES {
        all.push(Known::start(*mode, programs::ours("stacks")?.arg(mode))?);
    }
    let per_mode = if setup.slow > 1 { 30 } else { 700 };
    judge(setup, &all, per_mode)
}

/// Samples these programs until there are some so many samples of each.
pub(crate) fn sample_all(
    setup: &Setup,
    all: &[Known],
    per_program: u64,
) -> Result<Sampled, crate::runner::Skip> {
    let pids: Vec<_> = all.iter().map(Known::pid).collect();
    let sampling = Sampling::start(setup, frequency(setup), &pids)?;
    let limit = setup.patience(Duration::from_secs(60));
    Ok(sampling.until(per_program * all.len() as u64, limit))
}

/// The same, and judges them.
pub(crate) fn judge(setup: &Setup, all: &[Known], per_program: u64) -> Outcome {
    let sampled = sample_all(setup, all, per_program)?;
    let mut total = Share::default();
    for known in all {
        let share = known.judge(sampled.of(known.pid()));
        share.expect(&known.label, per_program / 4, 990);
        total.merge(&share);
    }
    total.expect("all of them", per_program, 999);
    Ok(())
}

fn the_leaf_of_a_vdso(setup: &Setup) -> Outcome {
    let known = Known::start("vdso", programs::ours("stacks")?.arg("vdso"))?;
    let sampled = sample(setup, &known, 300)?;
    known.judge(sampled.of(known.pid())).expect("vdso", 100, 999);
    let in_vdso = |stack: &&Stack| {
        let binary = stack.frames.first().and_then(|frame| frame.binary.as_ref());
        binary.is_some_and(|binary| *binary == "[vdso]")
    };
    let stacks: Vec<_> = sampled.of(known.pid()).filter(in_vdso).collect();
    let samples: u64 = stacks.iter().map(|stack| stack.count).sum();
    if samples == 0 && setup.slow > 1 {
        skip!("this clock is not read in the vDSO");
    }
    assert!(samples > 50, "{samples} samples in the vDSO");
    for stack in stacks {
        let leaf = stack.frames[0].function.as_ref().map(ToString::to_string);
        assert!(leaf.is_some_and(|leaf| leaf.contains("clock_gettime")), "{stack}");
    }
    Ok(())
}

/// Samples a program until there are so many samples.
fn sample(setup: &Setup, known: &Known, samples: u64) -> Result<Sampled, crate::runner::Skip> {
    let sampling = Sampling::start(setup, frequency(setup), &[known.pid()])?;
    Ok(sampling.until(samples, setup.patience(Duration::from_secs(30))))
}

fn two_to_one(setup: &Setup) -> Outcome {
    let known = Known::start("2:1", programs::ours("stacks")?.arg("two_to_one"))?;
    let (frequency, samples) = if setup.slow > 1 { (99, 1000) } else { (4999, 40_000) };
    let sampling = Sampling::start(setup, frequency, &[known.pid()])?;
    let sampled = sampling.until(samples, setup.patience(Duration::from_secs(120)));
    let of = |function: &str| -> f64 {
        let here = |names: &[String]| names.iter().any(|name| name == function);
        let stacks = sampled.of(known.pid()).filter(|stack| here(&names(stack)));
        stacks.map(|stack| stack.count).sum::<u64>() as f64
    };
    let ratio = of("twice") / of("once");
    println!("  {} to {}: {ratio:.3}", of("twice"), of("once"));
    // Of 40,000 samples the ratio has a standard deviation of 0.02, of 1,000 one of 0.13. On a machine that
    // is so busy that it took fewer there is nothing to be said.
    let tolerance = if setup.slow > 1 { 0.4 } else { 0.1 };
    assert!(of("twice") + of("once") >= samples as f64 / 2.0, "too few samples");
    assert!((ratio - 2.0).abs() < tolerance, "2:1 came out as {ratio}:1");
    Ok(())
}

fn forked_and_executed(setup: &Setup) -> Outcome {
    // Not by pid: the child's is not known before.
    let sampling = Sampling::start(setup, frequency(setup), &[])?;
    let mut program = programs::ours("stacks")?;
    let path = program.get_program().to_owned();
    let forked = Known::start("fork", program.arg("fork"))?;
    let executed = Known::start("exec", programs::ours("stacks")?.arg("exec").arg(&path))?;
    let ours = |stack: &Stack| stack.process.comm == "stacks" && !is_of_unknown_process(stack);
    let sampled = sampling.until_there_are(1500, &ours, setup.patience(Duration::from_secs(30)));
    let parent = forked.pid();
    let stacks = sampled.stacks.iter().filter(|stack| {
        stack.process.comm == "stacks" && ![parent, executed.pid()].contains(&stack.process.pid.0)
    });
    forked.judge(stacks).expect("child of a fork", 20, 990);
    // Before it is replaced it spins in `main`.
    let after = sampled.of(executed.pid());
    let after = after.filter(|stack| names(stack).iter().any(|name| name.starts_with("chain_")));
    executed.judge_functions(after).expect("after exec", 20, 999);
    // What is not known yet is said to be so: soon after, as the machine's load allows. And as it starts, the
    // dynamic linker binds functions, in one that keeps its frame's address in rbx.
    let expected = |stack: &&Stack| match stack.cut.as_ref().map(Text::as_bytes) {
        None | Some(b"unknown_process" | b"not_mapped") => true,
        Some(b"unsupported") => names(stack)[0].starts_with("_dl_runtime_resolve"),
        Some(_) => false,
    };
    let other: Vec<_> = sampled.of(executed.pid()).filter(|stack| !expected(stack)).collect();
    assert!(other.is_empty(), "{other:?}");
    let share = sampled.whole(|stack| stack.process.pid.0 == executed.pid());
    share.expect("whole stacks around exec", 20, 800);
    Ok(())
}

fn short_lives(setup: &Setup) -> Outcome {
    let sampling = Sampling::start(setup, frequency(setup), &[])?;
    let mut program = programs::ours("stacks")?;
    let path = program.get_program().to_owned();
    let known = Known::start("shorts", program.arg("shorts").arg(path))?;
    let sampled = sampling.go_on_for(setup.patience(Duration::from_secs(4)));
    let short =
        |stack: &Stack| stack.process.comm == "stacks" && stack.process.pid.0 != known.pid();
    let pids: std::collections::BTreeSet<_> =
        sampled.stacks.iter().filter(|stack| short(stack)).map(|stack| stack.process.pid).collect();
    println!("  {} processes", pids.len());
    assert!(pids.len() > 5, "{} processes", pids.len());
    // Those of processes that had not been looked at yet too.
    sampled.named(short).expect("frames of short-lived processes", 50, 950);
    sampled.whole(short).expect("whole stacks of short-lived processes", 50, 500);
    let spinning = sampled.stacks.iter().filter(|stack| short(stack));
    let spinning = spinning.filter(|stack| names(stack).last().is_some_and(|it| it == "leaf"));
    known.judge_functions(spinning).expect("functions of short-lived processes", 10, 999);
    Ok(())
}

/// How many processes were started since the machine was (`man 5 proc_stat`).
fn processes_started() -> u64 {
    let counters = fs::read_to_string("/proc/stat").expect("the kernel's counters");
    let count = counters.lines().find_map(|line| line.strip_prefix("processes "));
    count.and_then(|count| count.parse().ok()).expect("a counter")
}

/// Each lives for 20 ms. How many a second there are depends on the machine, and is told.
fn a_thousand_lives_a_second(setup: &Setup) -> Outcome {
    let sampling = Sampling::start(setup, frequency(setup), &[])?;
    let mut program = programs::ours("stacks")?;
    let path = program.get_program().to_owned();
    let known = Known::start("naps", program.arg("naps").arg(path))?;
    let (before, began) = (processes_started(), Instant::now());
    std::thread::sleep(Duration::from_secs(10));
    let rate = (processes_started() - before) as f64 / began.elapsed().as_secs_f64();
    println!("  {rate:.0} processes a second");
    let sampled = sampling.stop();
    let short =
        |stack: &Stack| stack.process.comm == "stacks" && stack.process.pid.0 != known.pid();
    println!("  whole: {:.1}%", sampled.whole(short).percent());
    sampled.named(short).expect("frames of processes that live for 20 ms", 500, 950);
    Ok(())
}

fn deep_recursion(setup: &Setup) -> Outcome {
    let known = Known::start("deep", programs::ours("stacks")?.arg("deep"))?;
    let sampled = sample(setup, &known, 100)?;
    for stack in sampled.of(known.pid()) {
        let names = names(stack);
        assert_eq!(names.last().map(String::as_str), Some("leaf"), "{stack}");
        assert!(names.iter().rev().skip(1).all(|name| name == "recurse"), "{stack}");
        assert_eq!(stack.cut.as_ref().map(ToString::to_string).as_deref(), Some("depth"));
        assert!(names.len() >= 100, "{} frames", names.len());
    }
    Ok(())
}

fn threads(setup: &Setup) -> Outcome {
    let known = Known::start("thread", programs::ours("stacks")?.arg("thread"))?;
    let profiling = Profiling::new(frequency(setup)).per_thread();
    let sampling = Sampling::start(setup, profiling, &[known.pid()])?;
    let sampled = sampling.until(50, setup.patience(Duration::from_secs(30)));
    for stack in sampled.of(known.pid()) {
        assert!(stack.thread.is_some_and(|thread| thread != known.pid()), "{:?}", stack.thread);
    }
    Ok(())
}

fn waits(setup: &Setup) -> Outcome {
    // It sleeps for 20 ms at a time.
    let known = Known::start("wait", programs::ours("stacks")?.arg("wait"))?;
    let profiling = Profiling::new(frequency(setup)).off_cpu(Duration::from_millis(10));
    let sampling = Sampling::start(setup, profiling, &[known.pid()])?;
    let waited = |stack: &Stack| stack.state == StackState::OffCpu;
    let sampled = sampling.until_there_are(60, &waited, setup.patience(Duration::from_secs(30)));
    let waits = || {
        let of_it = sampled.of(known.pid());
        of_it.filter(|stack| waited(stack))
    };
    let count: u64 = waits().map(|stack| stack.count).sum();
    let total: Duration = waits().map(|stack| stack.total).sum();
    println!("  {count} waits, {total:?}");
    // However slow the machine, it does not wait for less, nor for longer than it was looked at.
    assert!(count >= 20, "{count} waits");
    assert!(total >= Duration::from_millis(20) * u32::try_from(count).unwrap(), "{total:?}");
    let mut share = Share::default();
    for stack in waits() {
        let names = names(stack);
        let right = stack.cut.is_none()
            && known.is_right(&names)
            && names.iter().any(|name| name.contains("nanosleep"));
        share.add(stack.count, right, || stack.to_string());
        let leaf = stack.frames[0].function.as_ref().map(ToString::to_string).unwrap_or_default();
        assert!(leaf.starts_with("__schedule"), "{stack}");
    }
    share.expect("stacks of waits", 20, 999);

    // What waits for less than is asked for is not told of.
    let profiling = Profiling::new(frequency(setup)).off_cpu(Duration::from_secs(3600));
    let sampling = Sampling::start(setup, profiling, &[known.pid()])?;
    let sampled = sampling.go_on_for(Duration::from_secs(1));
    assert!(!sampled.stacks.iter().any(waited));
    Ok(())
}

fn beside_traffic(setup: &Setup) -> Outcome {
    let known = Known::start("chain", programs::ours("stacks")?.arg("chain"))?;
    let tracer = Tracer::new().kprobes().backend(setup.backend).pid(known.pid());
    let sampling = Sampling::of(tracer.profiler(99));
    let sampled = sampling.until(50, setup.patience(Duration::from_secs(30)));
    assert!(sampled.report.profiler.is_some());
    // The sink wants stacks alone.
    assert!(sampled.report.traffic.is_none());
    known.judge(sampled.of(known.pid())).expect("beside traffic", 30, 990);

    let both = pixie::sinks::each(|_| {});
    let session = Tracer::new().kprobes().backend(setup.backend).profiler(99).sink(both).start();
    let session = session.unwrap();
    assert!(session.report().traffic.is_some() && session.report().profiler.is_some());
    std::thread::sleep(setup.patience(Duration::from_millis(1500)));
    let stats = session.stop().unwrap();
    assert!(stats.profile.samples > 0, "{stats}");
    Ok(())
}

/// What is in it alone, and then what is not.
fn by_cgroup(setup: &Setup) -> Outcome {
    let cgroup = Cgroup::new()?;
    let inside = cgroup.wrap(programs::ours("stacks")?.arg("chain"))?;
    let inside = Known::start("inside", &mut { inside })?;
    let outside = Known::start("outside", programs::ours("stacks")?.arg("chain"))?;
    let runs = [
        (Tracer::new().cgroup(cgroup.id()), &inside, &outside),
        (Tracer::new().exclude_cgroup(cgroup.id()), &outside, &inside),
    ];
    for (tracer, wanted, other) in runs {
        let tracer = tracer.stop_timeout(setup.patience(Duration::from_secs(20)));
        let sampling = Sampling::of(tracer.profiler(frequency(setup)));
        let of_it = |stack: &Stack| stack.process.pid.0 == wanted.pid();
        let limit = setup.patience(Duration::from_secs(60));
        let sampled = sampling.until_there_are(300, &of_it, limit);
        wanted.judge(sampled.of(wanted.pid())).expect("what is wanted", 300, 990);
        assert_eq!(sampled.of(other.pid()).count(), 0, "samples of what is not wanted");
    }
    Ok(())
}

/// Where processors count cycles for us, by these; by the timer where they do not, and why is told.
fn by_cycles(setup: &Setup) -> Outcome {
    let known = Known::start("by cycles", programs::ours("stacks")?.arg("chain"))?;
    let profiling = Profiling::new(frequency(setup)).cycles();
    let sampling = Sampling::start(setup, profiling, &[known.pid()])?;
    let sampled = sampling.until(300, setup.patience(Duration::from_secs(30)));
    known.judge(sampled.of(known.pid())).expect("by cycles", 100, 990);
    let report = sampled.report.profiler.as_ref().expect("it is under way");
    let attached: Vec<_> = report.attachments.iter().map(|of| (&*of.target, &of.refused)).collect();
    println!("  {attached:?}");
    match attached.as_slice() {
        [("perf_event/cpu-cycles", None)] => Ok(()),
        [("perf_event/cpu-cycles", Some(why)), ("perf_event/cpu-clock", None)] => {
            assert!(why.contains("cycles are counted"), "{why}");
            Ok(())
        }
        other => panic!("{other:?}"),
    }
}

fn nobody_wants_stacks(_: &Setup) -> Outcome {
    use pixie::{Interest, RecordKind, Sink as _};
    let sink = pixie::sinks::each(|_| {}).only(Interest::none().with(RecordKind::Http));
    let session = Tracer::new().profiler(99).sink(sink).start().unwrap();
    assert!(session.report().profiler.is_none());
    assert!(session.report().to_string().contains("no sink wants call stacks"));
    Ok(())
}
