//! Call stacks of real programs: how many reach the function that a thread begins with.

use crate::postgres;
use crate::process::{self, Running};
use crate::profiler::frequency;
use crate::profiler_builds::build;
use crate::programs;
use crate::runner::{Outcome, Setup, tests};
use crate::servers;
use crate::stacks::{Sampled, Sampling, Share, is_of_unknown_process, names};
use pixie::record::{Frame, Stack};
use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

tests! {
    once: openssl, python, node, nginx, postgres_under_pgbench, xz, the_go_compiler,
        a_go_server, rustc;
}

/// How many samples are taken.
const SAMPLES: u64 = 1500;

/// What threads begin with. The linker's view of a C library that has been stripped does not name all.
const ROOTS: &[&str] = &[
    "_start",
    "clone3",
    "__clone3",
    "clone",
    "__clone",
    "runtime.goexit",
    "runtime.mstart",
    "runtime.rt0_go",
    // What called these goes on otherwise.
    "runtime.mcall",
    "runtime.morestack",
];

/// Of a thousand stacks so many must reach the root: of these processes alone, from when they were
/// known.
fn judge(what: &str, sampled: &Sampled, per_thousand: u64, wanted: &dyn Fn(&Stack) -> bool) {
    let mut share = Share::default();
    for stack in sampled.known().filter(|stack| wanted(stack)) {
        // A thread of which the kernel alone is seen has no user stack yet, or none any more.
        let user = names(stack);
        let Some(root) = user.first() else { continue };
        // One that is ending has no memory any more.
        let ends = |frame: &Frame| frame.function.as_ref().is_some_and(|name| *name == "do_exit");
        if stack.frames.iter().any(ends) {
            continue;
        }
        // A function without a name is one of a stripped program.
        let is_root = root == "?" || ROOTS.contains(&root.as_str());
        share.add(stack.count, stack.cut.is_none() && is_root, || stack.to_string());
    }
    share.expect(what, SAMPLES / 2, per_thousand);
}

/// Samples one process, whose stacks are to be whole.
fn one(setup: &Setup, what: &str, command: &mut Command, per_thousand: u64) -> Outcome {
    let running = Running::start(command.stderr(std::process::Stdio::null()));
    let pid = running.pid();
    let sampling = Sampling::start(setup, frequency(setup), &[pid])?;
    let sampled = sampling.until(SAMPLES, setup.patience(Duration::from_secs(60)));
    judge(what, &sampled, per_thousand, &|stack| stack.process.pid.0 == pid);
    Ok(())
}

/// Samples all processes of these names.
fn named(setup: &Setup, comms: &[&str], per_thousand: u64) -> Outcome {
    let wanted = |stack: &Stack| comms.iter().any(|comm| stack.process.comm == *comm);
    let sampling = Sampling::start(setup, frequency(setup), &[])?;
    let limit = setup.patience(Duration::from_secs(60));
    // Tables of what else runs on the machine may have to be built first.
    let known = |stack: &Stack| wanted(stack) && !is_of_unknown_process(stack);
    let sampled = sampling.until_there_are(SAMPLES, &known, limit);
    judge(comms[0], &sampled, per_thousand, &wanted);
    Ok(())
}

fn openssl(setup: &Setup) -> Outcome {
    let mut command = programs::command("openssl")?;
    one(setup, "openssl", command.args(["speed", "-seconds", "100", "rsa2048"]), 995)
}

fn python(setup: &Setup) -> Outcome {
    let script = "
import json, re
def tree(depth):
    return {'depth': depth, 'below': [tree(depth - 1) for _ in range(3)]} if depth else {}
while True:
    text = json.dumps(tree(6))
    sorted(re.findall(r'\\d+', text), key=lambda number: -int(number))
";
    one(setup, "python3", programs::command("python3")?.args(["-c", script]), 995)
}

fn node(setup: &Setup) -> Outcome {
    let script = "
function tree(depth) {
    return depth ? { depth, below: [1, 2, 3].map(() => tree(depth - 1)) } : {};
}
while (true) {
    const text = JSON.stringify(tree(6));
    text.match(/\\d+/g).map(Number).sort((one, other) => one - other).reduce((a, b) => a + b);
}
";
    one(setup, "node", programs::command("node")?.args(["-e", script]), 950)
}

fn nginx(setup: &Setup) -> Outcome {
    let server = servers::nginx(setup)?;
    let mut wrk = programs::command("wrk")?;
    wrk.args(["-t", "1", "-c", "16", "-d", "100s"]).arg(server.url("/page.html"));
    let _load = Running::start(&mut wrk);
    named(setup, &["nginx"], 995)
}

fn postgres_under_pgbench(setup: &Setup) -> Outcome {
    let server = postgres::server(setup, "trust", &[])?;
    let mut initialize = postgres::pgbench(&server, &["--initialize", "--quiet"])?;
    // It listens before it lets anybody in.
    process::wait_for("database", setup.patience(Duration::from_secs(30)), || {
        process::output(&mut initialize).status.success().then_some(())
    });
    let mut load = postgres::pgbench(&server, &["-T", "100", "-c", "4", "-S", "-n"])?;
    let _load = Running::start(&mut load);
    named(setup, &["postgres"], 995)
}

fn xz(setup: &Setup) -> Outcome {
    programs::find("xz")?;
    let script = "exec xz -6 -c < /dev/urandom > /dev/null";
    one(setup, "xz", programs::command("sh")?.args(["-c", script]), 995)
}

fn the_go_compiler(setup: &Setup) -> Outcome {
    let folder = TempDir::new().expect("a temporary folder");
    let mut go = programs::command("go")?;
    go.env("GOCACHE", folder.path()).env("GOFLAGS", "-p=1").env("GO111MODULE", "off");
    let _build = Running::start(go.args(["build", "-a", "-o"]).arg("/dev/null").arg("net/http"));
    named(setup, &["compile"], 995)
}

fn a_go_server(setup: &Setup) -> Outcome {
    let program = build("go", &[], "stacks/server.go", "a-go-server")?;
    let mut wrk = programs::command("wrk")?;
    let mut server = Running::start(&mut Command::new(program));
    let address = server.line().expect("it says where it listens");
    let _load = Running::start(
        wrk.args(["-t", "1", "-c", "16", "-d", "200s"]).arg(format!("http://{address}/")),
    );
    let pid = server.pid();
    let sampling = Sampling::start(setup, frequency(setup), &[pid])?;
    let sampled = sampling.until(SAMPLES, setup.patience(Duration::from_secs(60)));
    judge("a Go server", &sampled, 995, &|stack| stack.process.pid.0 == pid);
    // Of a handler, all the way: each connection has a goroutine of its own that serves it.
    let handles = |stack: &Stack| names(stack).iter().any(|name| name == "main.items");
    let mut share = Share::default();
    for stack in sampled.known().filter(|stack| handles(stack)) {
        let names = names(stack);
        let right = names.first().is_some_and(|root| root == "runtime.goexit")
            && names.iter().any(|name| name == "net/http.(*conn).serve");
        share.add(stack.count, right, || stack.to_string());
    }
    share.expect("handlers of a Go server", 100, 995);
    Ok(())
}

fn rustc(setup: &Setup) -> Outcome {
    let folder = TempDir::new().expect("a temporary folder");
    let mut source = String::new();
    for number in 0..3000 {
        writeln!(
            source,
            "pub fn f{number}(words: &[String]) -> Vec<String> {{ \
                let mut all: Vec<_> = words.iter().map(|word| format!(\"{{word}} {number}\")).collect(); \
                all.sort_by_key(|word| word.len() * {number}); all }}"
        )
        .expect("it is written to memory");
    }
    let file = folder.path().join("many.rs");
    std::fs::write(&file, source).expect("a file");
    let mut rustc = Command::new("rustc");
    rustc.args(["-O", "--crate-type=lib", "--out-dir"]).arg(folder.path()).arg(&file);
    one(setup, "rustc", &mut rustc, 995)
}
