//! Rounds of wrk against nginx, traced and untraced in turn.

use super::agent::Agent;
use super::load::{Load, Nginx, wrk};
use super::processes;
use super::rounds::Ratios;
use crate::command::{command, output};
use anyhow::Result;
use serde_json::Value;
use std::fs;
use std::time::Duration;

pub(super) const HEADING: &str = "\
row                  kept (middle half)     agent      nginx      eBPF       peak
                     of requests/s          ns/request +ns/request ns/request MiB";

/// Whom a row traces.
#[derive(Clone, Copy, PartialEq)]
enum Traced {
    BothEnds,
    Nginx,
    Bpftrace,
}

/// One line of the table.
pub(super) struct Row {
    pub(super) name: &'static str,
    traced: Traced,
    backend: &'static str,
}

pub(super) fn rows() -> Vec<Row> {
    let row = |name, traced, backend| Row { name, traced, backend };
    vec![
        row("nginx", Traced::Nginx, "auto"),
        row("both", Traced::BothEnds, "auto"),
        row("both-sysexit", Traced::BothEnds, "sysexit"),
        row("bpftrace", Traced::Bpftrace, ""),
    ]
}

/// What one round came to.
struct Round {
    load: Load,
    nginx_cpu: Duration,
}

pub(super) struct Bench {
    nginx: Nginx,
    rounds: usize,
    duration: Duration,
}

impl Bench {
    pub(super) fn new(rounds: usize, duration: Duration) -> Result<Self> {
        let bench = Self { nginx: Nginx::start()?, rounds, duration };
        // The first round warms caches up.
        bench.round()?;
        Ok(bench)
    }

    fn round(&self) -> Result<Round> {
        let workers = self.nginx.workers()?;
        let before = processes::cpu(&workers)?;
        let load = wrk(self.nginx.port, self.duration)?;
        Ok(Round { load, nginx_cpu: processes::cpu(&workers)? - before })
    }

    fn start(&self, row: &Row) -> Result<Agent> {
        let mut arguments = vec!["--backend".to_owned(), row.backend.to_owned()];
        match row.traced {
            Traced::Bpftrace => return Agent::bpftrace(),
            Traced::BothEnds => {}
            Traced::Nginx => {
                for worker in self.nginx.workers()? {
                    arguments.extend(["--pid".to_owned(), worker.to_string()]);
                }
            }
        }
        Agent::start(&arguments)
    }

    /// Measures a row, and prints it.
    pub(super) fn measure(&self, row: &Row) -> Result<()> {
        let (mut kept, mut agent_ns, mut nginx_ns) =
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
            let untraced_ns = per_request(before.nginx_cpu, &before);
            nginx_ns.push(per_request(traced.nginx_cpu, &traced) - untraced_ns);
            peak_kib = peak_kib.max(usage.peak_kib);
        }
        let kernel_ns = match row.traced {
            Traced::Bpftrace => f64::NAN,
            _ => self.kernel_ns(row)?,
        };
        println!(
            "{:<20} {kept:<22} {:>10.0} {:>10.0} {kernel_ns:>10.0} {:>10.1}",
            row.name,
            agent_ns.median(),
            nginx_ns.median(),
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

    /// What the agent uses while nothing happens.
    pub(super) fn idle(&self) -> Result<()> {
        let agent = Agent::start(&[])?;
        let before = agent.usage()?;
        let pause = Duration::from_secs(10);
        std::thread::sleep(pause);
        let after = agent.usage()?;
        let share = (after.cpu - before.cpu).as_secs_f64() / pause.as_secs_f64();
        println!(
            "idle: {:.2}% of a core, {:.1} MiB",
            share * 100.0,
            after.peak_kib as f64 / 1024.0
        );
        Ok(())
    }
}

fn per_request(cpu: Duration, round: &Round) -> f64 {
    cpu.as_nanos() as f64 / round.load.requests as f64
}
