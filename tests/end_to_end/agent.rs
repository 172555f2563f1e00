//! This program as a tracer of its own, so that tests can kill it, weigh it and take its privileges.
//!
//! It prints `ready` once it traces, or `error` and why it does not. At the end of its input it stops
//! and prints the account.

use crate::process::Running;
use crate::runner::Setup;
use pixie::{Backend, Record, Tracer};
use std::ffi::OsStr;
use std::io::{BufRead, stdin};
use std::process::{Command, exit};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The first argument that makes this program an agent.
pub(crate) const COMMAND: &str = "agent";

/// `agent BACKEND [PORT [tls]]`
pub(crate) fn main(mut arguments: impl Iterator<Item = String>) -> ! {
    let backend: Backend = arguments.next().and_then(|name| name.parse().ok()).unwrap_or_default();
    let port = arguments.next().and_then(|port| port.parse().ok());
    let exchanges = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&exchanges);
    let tracer = Tracer::new().kprobes().backend(backend).sink(pixie::sinks::each(
        move |record: &Record| {
            counter.fetch_add(u64::from(record.traffic().is_some()), Ordering::Relaxed);
        },
    ));
    let tracer = match arguments.next().as_deref() {
        Some("tls") => tracer.tls(pixie::tls::All),
        _ => tracer,
    };
    let tracer = match port {
        Some(port) => tracer.port(port),
        None => tracer,
    };
    let session = match tracer.start() {
        Ok(session) => session,
        Err(error) => {
            println!("error {error}");
            exit(1);
        }
    };
    println!("ready");
    // Each line asks how things are.
    for _ in stdin().lock().lines() {
        let stats = session.stats();
        println!("{} {}", exchanges.load(Ordering::Relaxed), stats.connections.open);
    }
    match session.stop() {
        Ok(stats) => {
            println!("records {}", stats.parser.records);
            println!("dropped {}", stats.capture.events_dropped);
            exit(0)
        }
        Err(error) => {
            println!("error {error}");
            exit(1)
        }
    }
}

/// An agent under way.
pub(crate) struct Agent(pub(crate) Running);

impl Agent {
    /// The command that runs an agent with the backend of this test.
    pub(crate) fn command(setup: &Setup, port: Option<u16>) -> Command {
        let program = std::env::current_exe().expect("this program's path");
        Self::command_of(program.as_os_str(), setup, port)
    }

    /// The same with a copy of this program.
    pub(crate) fn command_of(program: &OsStr, setup: &Setup, port: Option<u16>) -> Command {
        let mut command = Command::new(program);
        command.arg(COMMAND).arg(setup.backend.as_str());
        command.args(port.map(|port| port.to_string()));
        command
    }

    /// Starts it. Its error, when it cannot trace.
    pub(crate) fn start(command: &mut Command) -> Result<Self, String> {
        let mut running = Running::start(command);
        let line = running.line().unwrap_or_default();
        match line.strip_prefix("error ") {
            Some(error) => {
                let mut error = error.to_owned();
                while let Some(more) = running.line() {
                    error = error + "\n" + &more;
                }
                Err(error)
            }
            None if line == "ready" => Ok(Self(running)),
            None => panic!("{command:?} said {line:?}: it neither traces nor says why"),
        }
    }

    /// How many exchanges there were so far, and how many connections are open.
    pub(crate) fn ask(&mut self) -> (u64, u64) {
        self.0.say("");
        let line = self.0.line().expect("an answer");
        let (exchanges, open) = line.split_once(' ').expect("two numbers");
        (exchanges.parse().unwrap(), open.parse().unwrap())
    }

    /// A figure of `/proc/PID/status` in bytes: `VmRSS`, say.
    pub(crate) fn memory(&self, figure: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")).expect(figure);
        kilobytes.parse::<u64>().unwrap() << 10
    }
}
