//! Rounds of traffic, traced and untraced in turn.

use super::agent::Agent;
use super::load::{Load, Traffic};
use super::processes;
use super::rounds::Ratios;
use crate::command::{command, output};
use anyhow::Result;
use serde_json::Value;
use std::fs;
use std::time::Duration;

pub(super) const HEADING: &str = "\
row                  kept (middle half)     agent      server     eBPF       peak
                     of requests/s          ns/request +ns/request ns/request MiB";

/// What attaches to the system calls of nginx and wrk and reads their payload, without parsing it.
const SCRIPT: &str = r#"
BEGIN { printf("ready\n"); }
tracepoint:syscalls:sys_enter_read /comm == "wrk"/ { @buffer[tid] = (uint64)args->buf; }
tracepoint:syscalls:sys_enter_write /comm == "wrk"/ { @buffer[tid] = (uint64)args->buf; }
tracepoint:syscalls:sys_enter_recvfrom /comm == "nginx"/ { @buffer[tid] = (uint64)args->ubuf; }
tracepoint:syscalls:sys_exit_read, tracepoint:syscalls:sys_exit_write,
tracepoint:syscalls:sys_exit_recvfrom
/@buffer[tid] && args->ret > 0/ {
    printf("%d %d %s\n", pid, args->ret, str(@buffer[tid], 64));
    delete(@buffer[tid]);
}
tracepoint:syscalls:sys_exit_writev, tracepoint:syscalls:sys_exit_sendfile64
/comm == "nginx"/ { printf("%d %d\n", pid, args->ret); }
"#;

/// Who traces in a row.
pub(super) enum Tracer {
    /// Ours, with these arguments.
    BothEnds(Vec<&'static str>),
    /// The same, of the server alone.
    Server(Vec<&'static str>),
    /// bpftrace, with this script.
    Bpftrace(String),
    /// Another tool.
    Other(fn() -> Result<Agent>),
}

/// One line of the table.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) tracer: Tracer,
}

/// Those of nginx and wrk, in the clear.
pub(super) fn rows() -> Vec<Row> {
    let row = |name, tracer| Row { name, tracer };
    vec![
        row("nginx", Tracer::Server(Vec::new())),
        row("both", Tracer::BothEnds(Vec::new())),
        row("both-sysexit", Tracer::BothEnds(vec!["--backend", "sysexit"])),
        row("bpftrace", Tracer::Bpftrace(SCRIPT.to_owned())),
    ]
}

/// What one round came to.
struct Round {
    load: Load,
    server_cpu: Duration,
}

pub(super) struct Bench {
    traffic: Box<dyn Traffic>,
    rounds: usize,
    duration: Duration,
}

impl Bench {
    pub(super) fn new(
        traffic: impl Traffic + 'static,
        rounds: usize,
        duration: Duration,
    ) -> Result<Self> {
        let bench = Self { traffic: Box::new(traffic), rounds, duration };
        // The first round warms caches up.
        bench.round()?;
        Ok(bench)
    }

    fn round(&self) -> Result<Round> {
        let servers = self.traffic.servers()?;
        let before = processes::cpu(&servers)?;
        let load = self.traffic.load(self.duration)?;
        Ok(Round { load, server_cpu: processes::cpu(&servers)? - before })
    }

    fn start(&self, row: &Row) -> Result<Agent> {
        match &row.tracer {
            Tracer::Bpftrace(script) => Agent::bpftrace(script),
            Tracer::Other(start) => start(),
            Tracer::BothEnds(arguments) => Agent::start(&owned(arguments)),
            Tracer::Server(arguments) => {
                let mut arguments = owned(arguments);
                for server in self.traffic.servers()? {
                    arguments.extend(["--pid".to_owned(), server.to_string()]);
                }
                Agent::start(&arguments)
            }
        }
    }

    /// Measures a row, and prints it.
    pub(super) fn measure(&self, row: &Row) -> Result<()> {
        let (mut kept, mut agent_ns, mut server_ns) =
            (Ratios::default(), Ratios::default(), Ratios::default());
        let mut peak_kib = 0;
        for _ in 0..self.rounds {
            let before = self.round()?;
            let agent = match self.start(row) {
                Ok(agent) => agent,
                Err(error) => {
                    println!("{:<20} skipped: {error:#}", row.name);
                    return Ok(());
                }
            };
            let usage_before = agent.usage()?;
            let traced = self.round()?;
            let usage = agent.usage()?;
            drop(agent);
            let after = self.round()?;
            let untraced = (before.load.per_second + after.load.per_second) / 2.0;
            kept.push(traced.load.per_second / untraced);
            agent_ns.push(per_request(usage.cpu - usage_before.cpu, &traced));
            let untraced_ns = per_request(before.server_cpu, &before);
            server_ns.push(per_request(traced.server_cpu, &traced) - untraced_ns);
            peak_kib = peak_kib.max(usage.peak_kib);
        }
        let kernel_ns = match row.tracer {
            Tracer::Bpftrace(_) | Tracer::Other(_) => f64::NAN,
            Tracer::BothEnds(_) | Tracer::Server(_) => self.kernel_ns(row)?,
        };
        println!(
            "{:<20} {kept:<22} {:>10.0} {:>10.0} {kernel_ns:>10.0} {:>10.1}",
            row.name,
            agent_ns.median(),
            server_ns.median(),
            peak_kib as f64 / 1024.0,
        );
        Ok(())
    }

    /// The time that our programs run in the kernel, a request, by the kernel's own statistics.
    /// Taking them costs something itself, so this is a round of its own.
    fn kernel_ns(&self, row: &Row) -> Result<f64> {
        const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";
        let agent = self.start(row)?;
        fs::write(SWITCH, "1")?;
        let round = self.round();
        let programs = output(&mut command("bpftool", &["--json", "prog", "list"]));
        fs::write(SWITCH, "0")?;
        drop(agent);
        let programs: Value = serde_json::from_str(&programs?)?;
        let programs = programs.as_array().cloned().unwrap_or_default();
        let total: u64 =
            programs.iter().filter_map(|program| program["run_time_ns"].as_u64()).sum();
        Ok(total as f64 / round?.load.requests as f64)
    }
}

/// What the agent uses while nothing happens.
pub(super) fn idle() -> Result<()> {
    let agent = Agent::start(&[])?;
    let before = agent.usage()?;
    let pause = Duration::from_secs(10);
    std::thread::sleep(pause);
    let after = agent.usage()?;
    let share = (after.cpu - before.cpu).as_secs_f64() / pause.as_secs_f64();
    println!("idle: {:.2}% of a core, {:.1} MiB", share * 100.0, after.peak_kib as f64 / 1024.0);
    Ok(())
}

fn owned(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|argument| (*argument).to_owned()).collect()
}

fn per_request(cpu: Duration, round: &Round) -> f64 {
    cpu.as_nanos() as f64 / round.load.requests as f64
}
