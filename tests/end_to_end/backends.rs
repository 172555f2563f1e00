//! Which backends this kernel loads, and what the report says of it.

use crate::expect::HttpExt;
use crate::programs::{Facts, ours};
use crate::runner::{Outcome, Setup, Skip, skip, tests};
use crate::servers::free_port;
use pixie::{Backend, Tracer};
use std::collections::HashMap;
use std::fs;
use std::sync::{Mutex, PoisonError};

tests! {
    once: socket_loads, fentry_loads, kprobe_loads, sysexit_loads, the_report_names_what_attached;
    core: a_request_is_seen_on_both_sides;
}

/// Whether a backend can be had here; found out once.
pub(crate) fn available(backend: Backend) -> Result<(), Skip> {
    static KNOWN: Mutex<Option<HashMap<Backend, Result<(), String>>>> = Mutex::new(None);
    if !rustix::process::geteuid().is_root() {
        skip!("needs root: nothing can be traced without privileges");
    }
    // Where nothing loads at all, that is a failure of each test, and not a reason to skip it.
    if backend == Backend::Auto {
        return Ok(());
    }
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    let result = known.entry(backend).or_insert_with(|| try_load(backend));
    match result {
        Ok(()) => Ok(()),
        Err(_) => skip!("backend {backend} does not load here"),
    }
}

/// What the kernel says to a backend.
fn try_load(backend: Backend) -> Result<(), String> {
    let tracer = Tracer::new().kprobes().backend(backend).sink(pixie::sinks::Null);
    match tracer.start() {
        Ok(session) => {
            let used = session.report().traffic.as_ref().map(|traffic| traffic.backend);
            assert_eq!(used, Some(backend), "the backend in the report");
            session.stop().map(drop).map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// The kernel's version, as far as it matters.
pub(crate) fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel's release");
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|word| word.parse());
    let mut number = || numbers.next().and_then(Result::ok).expect("a release starts with numbers");
    (number(), number())
}

/// Loads, or says why not; must load where `expected`.
fn check(backend: Backend, expected: bool) -> Outcome {
    match try_load(backend) {
        Ok(()) => Ok(()),
        Err(error) if expected => panic!("{backend} must load on this kernel: {error}"),
        Err(error) => skip!("refused by this kernel: {error}"),
    }
}

/// Whether the kernel knows a function by this name.
fn kernel_has(function: &str) -> bool {
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    symbols.lines().any(|line| line.split_whitespace().nth(2) == Some(function))
}

fn socket_loads(_: &Setup) -> Outcome {
    check(Backend::Socket, kernel() >= (6, 3))
}

fn fentry_loads(_: &Setup) -> Outcome {
    // A kernel without kprobes may well be one that lets nobody probe its functions.
    check(Backend::Fentry, kernel() >= (5, 15) && kernel_has("register_kretprobe"))
}

fn kprobe_loads(_: &Setup) -> Outcome {
    check(Backend::Kprobe, kernel_has("register_kretprobe"))
}

fn sysexit_loads(_: &Setup) -> Outcome {
    check(Backend::SysExit, true)
}

fn the_report_names_what_attached(setup: &Setup) -> Outcome {
    let session = setup.tracer().sink(pixie::sinks::Null).start().unwrap();
    let report = session.report().clone();
    let text = report.to_string();
    session.stop().unwrap();
    let traffic = report.traffic.expect("traffic was asked for");
    assert!(traffic.backend != Backend::Auto, "the backend that was chosen");
    let (major, minor) = kernel();
    assert!(traffic.kernel.starts_with(&format!("{major}.{minor}")), "kernel {}", traffic.kernel);
    assert!(traffic.attachments.iter().any(|attachment| attachment.refused.is_none()));
    for attachment in &traffic.attachments {
        assert!(text.contains(&attachment.target), "{} is not in:\n{text}", attachment.target);
    }
    assert!(text.contains(traffic.backend.as_str()));
    Ok(())
}

fn a_request_is_seen_on_both_sides(setup: &Setup) -> Outcome {
    let port = free_port();
    let mut program = ours("exchange")?;
    program.args(["-p", &port.to_string(), "-b", "500"]);
    let (observed, facts) = setup.observe(setup.tracer_of(port), 2, || Facts::of(&mut program));
    let facts = facts?;
    let pair = observed.pair("/c0/r0/0");
    pair.between(facts.one("client"), facts.one("server")).request("GET", 0).response(200, 500);
    assert_eq!(observed.http().count(), 2);
    assert_eq!(pair.client.traffic.process.comm, "exchange");
    assert_eq!(pair.client.sent().headers.get("host"), Some(&b"test"[..]));
    // One that is asked by one thread and answered to another may take no time; this one does not.
    assert!(!pair.server.latency().is_zero() && !pair.client.latency().is_zero());
    Ok(())
}
