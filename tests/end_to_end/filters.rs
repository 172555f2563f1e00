//! Filters, and two tracers at once.

use crate::cgroup::Cgroup;
use crate::expect::HttpExt;
use crate::process::Running;
use crate::programs::{Facts, find, ours};
use crate::runner::{Outcome, Setup, Skip, tests};
use crate::servers::free_port;
use pixie::Tracer;
use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;

tests! {
    core: by_port, by_pid, without_a_pid;
    once: by_cgroup, without_a_cgroup, without_an_executable, two_tracers_see_everything,
        our_own_traffic;
}

/// The program of two processes, waiting to be told to exchange two requests over one connection.
struct Waiting {
    running: Running,
    facts: Facts,
    port: u16,
}

impl Waiting {
    fn start() -> Result<Self, Skip> {
        Self::start_by(|program| program)
    }

    fn start_by(wrap: impl FnOnce(Command) -> Command) -> Result<Self, Skip> {
        let port = free_port();
        let mut program = ours("exchange")?;
        program.args(["-w", "-n", "2", "-p", &port.to_string()]);
        let mut running = Running::start(&mut wrap(program));
        let lines: Vec<_> =
            std::iter::from_fn(|| running.line()).take_while(|line| line != "waiting").collect();
        Ok(Self { running, facts: lines.into_iter().collect(), port })
    }

    fn client(&self) -> u32 {
        self.facts.one("client")
    }

    fn server(&self) -> u32 {
        self.facts.one("server")
    }

    fn go(mut self) {
        self.running.say("go");
        self.running.succeed();
    }
}

/// Lets two programs exchange, and returns the pids that were seen. Each process has two exchanges.
fn seen(setup: &Setup, tracer: Tracer, processes: usize, programs: [Waiting; 2]) -> HashSet<u32> {
    let (observed, ()) = setup.observe(tracer, 2 * processes, || {
        programs.into_iter().for_each(Waiting::go);
    });
    assert_eq!(observed.http().count(), 2 * processes, "records");
    for http in observed.http() {
        assert_eq!((http.sent().method.to_string().as_str(), http.answered().status), ("GET", 200));
    }
    observed.http().map(|http| http.traffic.process.pid.0).collect()
}

fn by_port(setup: &Setup) -> Outcome {
    let programs = [Waiting::start()?, Waiting::start()?];
    let wanted = HashSet::from([programs[0].client(), programs[0].server()]);
    let tracer = setup.tracer_of(programs[0].port);
    assert_eq!(seen(setup, tracer, 2, programs), wanted);
    Ok(())
}

fn by_pid(setup: &Setup) -> Outcome {
    let programs = [Waiting::start()?, Waiting::start()?];
    let wanted = HashSet::from([programs[0].client(), programs[1].server()]);
    let tracer = wanted.iter().fold(setup.tracer(), |tracer, pid| tracer.pid(*pid));
    assert_eq!(seen(setup, tracer, 2, programs), wanted);
    Ok(())
}

fn without_a_pid(setup: &Setup) -> Outcome {
    let programs = [Waiting::start()?, Waiting::start()?];
    let wanted = HashSet::from([programs[0].client(), programs[1].client(), programs[1].server()]);
    let tracer = setup.tracer_of(programs[0].port).port(programs[1].port);
    let tracer = tracer.exclude_pid(programs[0].server());
    assert_eq!(seen(setup, tracer, 3, programs), wanted);
    Ok(())
}

fn by_cgroup(setup: &Setup) -> Outcome {
    let cgroup = Cgroup::new()?;
    find("sh")?;
    let inside = Waiting::start_by(|program| cgroup.wrap(&program).expect("a shell"))?;
    let programs = [inside, Waiting::start()?];
    let wanted = HashSet::from([programs[0].client(), programs[0].server()]);
    assert_eq!(seen(setup, setup.tracer().cgroup(cgroup.id()), 2, programs), wanted);
    Ok(())
}

fn without_a_cgroup(setup: &Setup) -> Outcome {
    let cgroup = Cgroup::new()?;
    find("sh")?;
    let inside = Waiting::start_by(|program| cgroup.wrap(&program).expect("a shell"))?;
    let programs = [inside, Waiting::start()?];
    let wanted = HashSet::from([programs[1].client(), programs[1].server()]);
    let tracer = setup.tracer_of(programs[0].port).port(programs[1].port);
    assert_eq!(seen(setup, tracer.exclude_cgroup(cgroup.id()), 2, programs), wanted);
    Ok(())
}

fn without_an_executable(setup: &Setup) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("unwatched");
    let excluded = Waiting::start_by(|program| {
        fs::copy(program.get_program(), &copy).expect("a copy of the program");
        let mut other = Command::new(&copy);
        other.args(program.get_args());
        other
    })?;
    let programs = [excluded, Waiting::start()?];
    let wanted = HashSet::from([programs[1].client(), programs[1].server()]);
    let tracer = setup.tracer_of(programs[0].port).port(programs[1].port);
    assert_eq!(seen(setup, tracer.exclude_executable(copy), 2, programs), wanted);
    Ok(())
}

/// An exchange of this very process with itself is captured on request alone.
fn our_own_traffic(setup: &Setup) -> Outcome {
    let exchange = |port: u16| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let request = b"GET /own HTTP/1.1\r\nHost: test\r\n\r\n";
        client.write_all(request).unwrap();
        server.read_exact(&mut vec![0; request.len()]).unwrap();
        let response = b"HTTP/1.1 204 No Content\r\n\r\n";
        server.write_all(response).unwrap();
        client.read_exact(&mut vec![0; response.len()]).unwrap();
    };
    let port = free_port();
    let tracer = setup.tracer_of(port).include_self();
    let (observed, ()) = setup.observe(tracer, 2, || exchange(port));
    observed.pair("/own").between(std::process::id(), std::process::id()).response(204, 0);

    let port = free_port();
    let (observed, ()) = setup.observe(setup.tracer_of(port), 0, || exchange(port));
    assert_eq!(observed.http().count(), 0, "records");
    assert_eq!(observed.stats.stream.bytes_total, 0, "bytes");
    Ok(())
}

fn two_tracers_see_everything(setup: &Setup) -> Outcome {
    const REQUESTS: usize = 50;
    let port = free_port();
    let mut program = ours("exchange")?;
    program.args(["-p", &port.to_string(), "-n", &REQUESTS.to_string()]);
    let first = setup.watch(setup.tracer_of(port));
    let second = setup.watch(setup.tracer_of(port));
    Facts::of(&mut program)?;
    for watch in [first, second] {
        let observed = watch.stop_after(2 * REQUESTS);
        observed.check_nothing_dropped();
        for request in 0..REQUESTS {
            observed.pair(&format!("/c0/r{request}/0")).response(200, 100);
        }
    }
    Ok(())
}
