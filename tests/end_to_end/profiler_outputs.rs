//! What other programs are given to read of call stacks.

use crate::profiler::sample_all;
use crate::programs;
use crate::runner::{Outcome, Setup, tests};
use crate::stacks::{Known, names};
use pixie::profiler::{GroupBy, Measure, Profile};
use pixie::record::Stack;
use serde_json::Value;
use std::collections::BTreeMap;

tests! {
    once: the_firefox_profiler;
}

/// A known program's own chain of functions is in the file, from the root to the leaf, and each stack as
/// often as it was sampled.
fn the_firefox_profiler(setup: &Setup) -> Outcome {
    let known = [Known::start("chain", programs::ours("stacks")?.arg("chain"))?];
    let sampled = sample_all(setup, &known, if setup.slow > 1 { 30 } else { 300 })?;
    let mut profile = Profile::new(GroupBy::Process).with_intervals();
    sampled.stacks.iter().for_each(|stack| profile.add(stack));
    let mut bytes = Vec::new();
    profile.write_firefox(Measure::Samples, &mut bytes).unwrap();
    let written: Value = serde_json::from_slice(&bytes).unwrap();

    let mut expected: BTreeMap<Vec<String>, u64> = BTreeMap::new();
    let whole =
        |stack: &&Stack| stack.cut.is_none() && !names(stack).iter().any(|name| name == "?");
    for stack in sampled.of(known[0].pid()).filter(whole) {
        *expected.entry(names(stack)).or_default() += stack.count;
    }
    let mut told = of_process(&written, known[0].pid());
    // What is cut or has no name.
    told.retain(|chain, _| !chain.iter().any(|name| name.starts_with('[')));
    assert_eq!(told, expected);
    let right = told.iter().filter(|(chain, _)| known[0].is_right(chain));
    let right: u64 = right.map(|(_, count)| count).sum();
    let all: u64 = expected.values().sum();
    println!("  {right} of {all} samples have the true chain");
    // How many it must be is for the tests of unwinding to say.
    assert!(right * 2 > all, "{told:?}");
    Ok(())
}

/// The functions of a process's stacks in its own code, root first, and how often each was sampled.
fn of_process(written: &Value, pid: u32) -> BTreeMap<Vec<String>, u64> {
    let shared = &written["shared"];
    let cell = |table: &str, column: &str, row: u64| -> &Value {
        &shared[table][column][usize::try_from(row).unwrap()]
    };
    let number = |value: &Value| value.as_u64().unwrap();
    let mut chains = BTreeMap::new();
    let (threads, pid) = (written["threads"].as_array().unwrap(), pid.to_string());
    for thread in threads.iter().filter(|thread| thread["pid"] == pid) {
        let samples = &thread["samples"];
        let rows = samples["stack"].as_array().unwrap().iter();
        for (stack, weight) in rows.zip(samples["weight"].as_array().unwrap()) {
            let (mut chain, mut next) = (Vec::new(), stack.as_u64());
            while let Some(stack) = next {
                let frame = number(cell("stackTable", "frame", stack));
                let function = number(cell("frameTable", "func", frame));
                let name = number(cell("funcTable", "name", function));
                let category = number(cell("frameTable", "category", frame));
                if written["meta"]["categories"][usize::try_from(category).unwrap()]["name"]
                    != "Kernel"
                {
                    let name = &shared["stringArray"][usize::try_from(name).unwrap()];
                    chain.push(name.as_str().unwrap().to_owned());
                }
                next = cell("stackTable", "prefix", stack).as_u64();
            }
            chain.reverse();
            if number(weight) > 0 {
                *chains.entry(chain).or_default() += number(weight);
            }
        }
    }
    chains
}
