//! End-to-end tests: the library on the running kernel, with real programs.
//!
//! ```text
//! end_to_end [--list] [--backend NAME] [--soak] [--exact] [FILTER]...
//! ```
//!
//! The tests run one after the other, because they share one machine. One that cannot run here is
//! skipped with its reason, and counted. Core tests run once with each backend that this kernel
//! loads, the others with the one that is chosen by itself; `--backend` runs all with one.
//!
//! On a slow machine, an emulated one say, `PIXIE_TEST_SLOW=N` multiplies every patience by N. Where
//! there is no C compiler, `PIXIE_TEST_PROGRAMS=DIR` names the folder of the compiled programs. On one
//! that is thrown away afterwards, `PIXIE_TEST_DISPOSABLE=1` allows what only a boot undoes.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::exit,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests assert by panicking, and this is a program that reports to people"
)]

mod agent;
mod cgroup;
mod chroot;
mod clients;
mod expect;
mod fetch;
mod nginx;
mod observe;
mod process;
mod programs;
mod runner;
mod servers;
mod stacks;

mod backends;
mod bodies;
mod calls;
mod datagrams;
mod dns;
mod encrypted;
mod exchanges;
mod faults;
mod filters;
mod grpc;
mod http2;
mod lifetimes;
mod load;
mod lockdown;
mod memory;
mod postgres;
mod processors;
mod profiler;
mod profiler_builds;
mod profiler_ends;
mod profiler_outputs;
mod profiler_programs;
mod proxy_protocol;
mod recording;
mod redis;
mod sharing;
mod tls;
mod tls_sessions;
mod transports;
mod websocket;

/// Every test, theme by theme, cheapest first. After the last there can be none.
const THEMES: &[&[runner::Test]] = &[
    backends::TESTS,
    calls::TESTS,
    datagrams::TESTS,
    dns::TESTS,
    tls::TESTS,
    encrypted::signatures::TESTS,
    encrypted::openssl::TESTS,
    encrypted::boringssl::TESTS,
    encrypted::go::TESTS,
    encrypted::others::TESTS,
    encrypted::rustls::TESTS,
    encrypted::shared::TESTS,
    encrypted::ktls::TESTS,
    encrypted::uprobes::TESTS,
    encrypted::choices::TESTS,
    encrypted::lifetimes::TESTS,
    tls_sessions::TESTS,
    sharing::TESTS,
    transports::TESTS,
    exchanges::TESTS,
    bodies::TESTS,
    recording::TESTS,
    lifetimes::TESTS,
    filters::TESTS,
    http2::TESTS,
    grpc::TESTS,
    redis::TESTS,
    postgres::TESTS,
    websocket::TESTS,
    proxy_protocol::TESTS,
    profiler::TESTS,
    profiler_builds::TESTS,
    profiler_ends::TESTS,
    profiler_outputs::TESTS,
    profiler_programs::TESTS,
    processors::TESTS,
    load::TESTS,
    faults::TESTS,
    memory::TESTS,
    lockdown::TESTS,
];

fn main() {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|first| first == agent::COMMAND).is_some() {
        agent::main(arguments);
    }
    let tests = THEMES.iter().flat_map(|theme| theme.iter());
    std::process::exit(runner::main(tests, arguments));
}
