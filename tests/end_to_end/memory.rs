//! What an agent weighs.

use crate::agent::Agent;
use crate::process::{self, Running};
use crate::programs::{Facts, command, ours};
use crate::runner::{Outcome, Setup, tests};
use crate::servers::{free_port, nginx};
use std::time::{Duration, Instant};

tests! {
    once: five_thousand_connections;
    soak: a_million_requests;
}

/// The most memory that an agent may ever take with 5,000 connections open at both ends. It maps its
/// 8 MiB of rings twice over, and both count.
const PEAK: u64 = 64 << 20;

/// What an agent's memory may grow by once it has seen as many requests as it holds records.
const GROWTH: u64 = 2 << 20;

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn five_thousand_connections(setup: &Setup) -> Outcome {
    const CONNECTIONS: u64 = 5000;
    const QUIET: Duration = Duration::from_secs(2);
    let port = free_port();
    let mut program = ours("exchange")?;
    program.args(["-w", "-p", &port.to_string(), "-n", "2", "-c", &CONNECTIONS.to_string()]);
    let mut agent = Agent::start(&mut Agent::command(setup, Some(port))).expect("it traces");
    let mut running = Running::start(&mut program);
    while running.line().expect("it gets to waiting") != "waiting" {}
    // On a busy machine some may be lost, which is then counted.
    let mut settle = |exchanges, open| {
        let (mut last, mut since) = (agent.ask(), Instant::now());
        while last != (exchanges, open) && since.elapsed() < setup.patience(QUIET) {
            std::thread::sleep(Duration::from_millis(50));
            let now = agent.ask();
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
    };
    settle(2 * CONNECTIONS, 2 * CONNECTIONS);
    running.say("go");
    running.succeed();
    settle(6 * CONNECTIONS, 0);
    let peak = agent.memory("VmHWM");
    let facts: Facts = agent.0.succeed().into_iter().collect();
    let (records, dropped) = (facts.one::<u64>("records"), facts.one::<u64>("dropped"));
    assert!(records == 6 * CONNECTIONS || dropped > 0, "{records} records, and nothing dropped");
    assert!(records > CONNECTIONS, "{records} records are too few to weigh");
    println!("with {CONNECTIONS} connections: {:.1} MB at the most", megabytes(peak));
    assert!(peak <= PEAK, "{:.1} MB are too much", megabytes(peak));
    Ok(())
}

fn a_million_requests(setup: &Setup) -> Outcome {
    const ROUNDS: u64 = 10;
    const REQUESTS: u64 = 100_000;
    let server = nginx(setup)?;
    let url = server.url("/small.txt");
    let mut agent = Agent::start(&mut Agent::command(setup, Some(server.port))).expect("it traces");
    let mut weights = Vec::new();
    for _ in 0..ROUNDS {
        let mut ab = command("ab")?;
        ab.args(["-q", "-k", "-c", "64", "-n", &REQUESTS.to_string(), &url]);
        process::run(&mut ab);
        weights.push(agent.memory("VmRSS"));
    }
    let (exchanges, _) = agent.ask();
    assert!(exchanges > 0, "nothing was seen");
    let growth = weights[ROUNDS as usize - 1].saturating_sub(weights[1]);
    let shown: Vec<_> = weights.iter().map(|bytes| format!("{:.1}", megabytes(*bytes))).collect();
    println!("MB after each {REQUESTS} requests: {}", shown.join(" "));
    assert!(growth <= GROWTH, "{:.1} MB more after a million requests", megabytes(growth));
    agent.0.succeed();
    Ok(())
}
