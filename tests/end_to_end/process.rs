//! Processes that never outlive their test.

use rustix::process::{Pid, Signal, kill_process_group};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The process groups that are running.
static GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Kills every process that was started and not waited for.
pub(crate) fn kill_all() {
    for group in GROUPS.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// What each thread of this process and of those that it started waits for in the kernel.
pub(crate) fn threads() -> String {
    let groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
    let started = groups.iter().map(|group| group.as_raw_nonzero().to_string());
    let mut lines = Vec::new();
    for process in started.chain(["self".to_owned()]) {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
        for task in tasks.map(|task| task.path()) {
            let read = |name| fs::read_to_string(task.join(name)).unwrap_or_default();
            let (name, call, stack) = (read("comm"), read("syscall"), read("stack"));
            lines.push(format!("{} {} {}", task.display(), name.trim(), call.trim()));
            lines.extend(stack.lines().map(|line| format!("    {line}")));
        }
    }
    lines.join("\n")
}

/// A process with its own process group, which is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    group: Pid,
    program: String,
    output: Option<BufReader<ChildStdout>>,
    input: Option<ChildStdin>,
}

impl Running {
    /// Starts a program. Its standard output can be read line by line.
    pub(crate) fn start(command: &mut Command) -> Self {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} does not start: {error}"));
        let group = Pid::from_child(&child);
        GROUPS.lock().unwrap_or_else(PoisonError::into_inner).push(group);
        let output = child.stdout.take().map(BufReader::new);
        let input = child.stdin.take();
        Self { child, group, program, output, input }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it prints, or `None` at the end of its output.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.output.as_mut()?.read_line(&mut line).expect("output is text");
        (!line.is_empty()).then(|| line.trim_end().to_owned())
    }

    /// Writes a line to its standard input.
    pub(crate) fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("standard input is open");
        writeln!(input, "{line}").expect("it reads its input");
    }

    /// Closes its standard input.
    pub(crate) fn close_input(&mut self) {
        self.input = None;
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.group, signal).expect("it is running");
    }

    /// How it ended, if it has.
    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it can be asked")
    }

    /// Waits until it ends; returns how, and the rest of its output.
    pub(crate) fn end(mut self) -> (ExitStatus, Vec<String>) {
        self.close_input();
        let rest = std::iter::from_fn(|| self.line()).collect();
        (self.child.wait().expect("it can be waited for"), rest)
    }

    /// Waits until it ends, which it must do without an error; returns the rest of its output.
    pub(crate) fn succeed(self) -> Vec<String> {
        let program = self.program.clone();
        let (status, output) = self.end();
        assert!(status.success(), "{program}: {status}; it said {output:?}");
        output
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        GROUPS.lock().unwrap_or_else(PoisonError::into_inner).retain(|group| *group != self.group);
        // Also when it has ended itself: its children may not have.
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Runs a program to its end, which must be without an error. Returns its pid and what it printed.
pub(crate) fn run(command: &mut Command) -> (u32, String) {
    let running = Running::start(command);
    let pid = running.pid();
    (pid, running.succeed().join("\n"))
}

/// Runs a program to its end, and returns all that it printed.
pub(crate) fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Asks again and again until something is there, and panics when it takes too long.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < limit, "no {what} after {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
