//! One conversation between a client and a server, over TLS, and what must be seen of it.

use super::peers::Peer;
use crate::expect::HttpExt;
use crate::observe::{Observed, Watch};
use crate::process::{Running, wait_for};
use crate::runner::{Outcome, Setup, Skip};
use crate::servers::{Server, free_port};
use pixie::id::Role;
use pixie::record::{Address, Cause, Http, Stage};
use pixie::tls::TlsFile;
use std::collections::HashMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// What every client of ours asks for, and gets: the request's body, status and the response's body.
pub(crate) const QUESTIONS: [&str; 3] = [
    "GET /bytes/1000 0 -> 200 1000",
    "POST /count 100000 -> 200 7",
    "GET /bytes/50000 0 -> 200 50000",
];

/// How often ours ask.
pub(crate) const TIMES: usize = 2;

/// What ours ask at the end, if `BIG` tells them of so many bytes.
const BIG_QUESTIONS: [&str; 2] =
    ["GET /bytes/52428800 0 -> 200 52428800", "POST /count 52428800 -> 200 9"];
const BIG: usize = 50 << 20;

/// How long it may take on a busy machine, without optimizations, until what a process has mapped is
/// probed. Programs can be large.
const ATTACHED: Duration = Duration::from_secs(60);

/// One end, by what its records must say of the library: its name, and how its version begins.
/// `None` when no library of this end can be probed.
pub(crate) type Library = Option<(&'static str, &'static str)>;

/// The OpenSSL of the system that the tests are for.
pub(crate) const SYSTEM: Library = Some(("openssl", "3.0."));

/// Starts a client of ours, which asks when it is told to.
pub(crate) struct Client {
    running: Running,
}

impl Client {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut running = Running::start(&mut command);
        assert_eq!(running.line().as_deref(), Some("ready"), "{command:?}");
        Self { running }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Tells it to ask, and waits until it has its answers. Returns what else it said.
    pub(crate) fn ask(&mut self) -> Vec<String> {
        self.running.say("ask");
        let said = std::iter::from_fn(|| self.running.line().filter(|line| line != "done"));
        said.collect()
    }

    /// Tells it to go, which it must do without an error.
    pub(crate) fn leave(mut self) {
        self.running.say("leave");
        self.running.succeed();
    }
}

impl Setup {
    /// How big the biggest bodies are; `None` where they would take minutes.
    pub(crate) fn big(&self) -> Option<usize> {
        (self.slow == 1).then_some(BIG)
    }

    /// All that a client asks for on a connection.
    pub(crate) fn questions(&self) -> Vec<&'static str> {
        let mut questions = QUESTIONS.repeat(TIMES);
        questions.extend(self.big().into_iter().flat_map(|_| BIG_QUESTIONS));
        questions
    }

    /// Traces connections with this port, and what is encrypted on them.
    pub(crate) fn watch_tls(&self, port: u16) -> Watch {
        /// Enough for all that is said in a test: what does not fit is not what is tested.
        const AMPLE: usize = 64 << 20;
        self.watch(self.tracer_of(port).tls(pixie::tls::All).ring_bytes(AMPLE))
    }
}

impl Watch {
    /// Waits until what this process reads its plaintext with is probed.
    pub(crate) fn wait_until_probed(&self, setup: &Setup, pid: u32) {
        self.wait_until_probed_in(setup, pid, "");
    }

    /// The same, of a process that has several libraries: in that which has this in its path.
    pub(crate) fn wait_until_probed_in(&self, setup: &Setup, pid: u32, part: &str) {
        wait_for(&format!("probe in process {pid}"), setup.patience(ATTACHED), || {
            let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
            let reads =
                |name: &String| ["ead", "recv", "decrypt"].iter().any(|part| name.contains(part));
            let traffic = self.report().traffic?;
            let files = traffic.tls.iter().filter(|file| file.attached.iter().any(reads));
            let path = |file: &TlsFile| file.path.to_string_lossy().into_owned();
            let mapped =
                |path: &String| maps.lines().any(|line| line.ends_with(&format!(" {path}")));
            files.map(path).find(|path| path.contains(part) && mapped(path)).map(drop)
        });
    }
}

/// A client of ours asks a server twice the same, over one connection. Both ends are traced; each of
/// them must have the records of all questions, and name its library.
pub(crate) fn converse(
    setup: &Setup,
    server: &Server,
    client: Command,
    libraries: [Library; 2],
) -> Outcome {
    converse_by(setup, server, client, libraries, "")
}

/// The same with a client that has several libraries, and uses that which has this in its path.
pub(crate) fn converse_by(
    setup: &Setup,
    server: &Server,
    client: Command,
    libraries: [Library; 2],
    part: &str,
) -> Outcome {
    observe(setup, setup.watch_tls(server.port), server, client, libraries, part);
    Ok(())
}

/// The same, seen by this tracer, and what it told.
pub(crate) fn observe(
    setup: &Setup,
    watch: Watch,
    server: &Server,
    mut client: Command,
    libraries: [Library; 2],
    part: &str,
) -> Observed {
    let expected = setup.questions();
    client.envs(setup.big().map(|size| ("BIG", size.to_string())));
    let mut client = Client::start(client);
    for (library, pid, part) in
        [(libraries[0], client.pid(), part), (libraries[1], server.pid(), "")]
    {
        if library.is_some() {
            watch.wait_until_probed_in(setup, pid, part);
        }
    }
    client.ask();
    let ends = libraries.iter().flatten().count();
    // Each end also tells of the handshake.
    watch.wait(2 + ends * expected.len());
    let pid = client.pid();
    client.leave();
    let observed = watch.stop_after(0);
    observed.check_nothing_dropped();
    check(&observed, Role::Client, libraries[0], pid, &expected);
    check(&observed, Role::Server, libraries[1], server.pid(), &expected);
    observed.check_ends_agree();
    observed
}

/// Many connections of one thread, under way at once: each exchange is on the connection that carries
/// it. Each connection asks for a number of bytes of its own.
pub(crate) fn crowd(setup: &Setup, peer: &Peer, connections: usize) -> Result<Observed, Skip> {
    const ROUNDS: usize = 3;
    let server = peer.serve(setup, &["aserver"])?;
    let watch = setup.watch_tls(server.port);
    let mut client = Client::start(peer.client(&["crowd"], &server, connections));
    watch.wait_until_probed(setup, client.pid());
    watch.wait_until_probed(setup, server.pid());
    let said = client.ask();
    let ports: HashMap<String, u16> = said
        .iter()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .map(|words| (words[1].to_owned(), words[2].parse().expect("a port")))
        .collect();
    assert_eq!(ports.len(), connections, "{said:?}");
    watch.wait(2 * connections * (1 + ROUNDS));
    client.leave();
    let observed = watch.stop_after(0);
    observed.check_nothing_dropped();
    for role in [Role::Client, Role::Server] {
        assert_eq!(observed.side(role).count(), connections * ROUNDS, "exchanges at the {role}");
        for http in observed.side(role) {
            let path = http.path();
            let number = path.trim_start_matches("/bytes/").split('?').next().unwrap_or_default();
            assert_eq!(client_port(http, role), Some(ports[number]), "at the {role}: {http}");
            assert_eq!(http.answered().body.size.to_string(), number, "at the {role}");
        }
    }
    Ok(observed)
}

/// Where only one port is asked for, nothing is told of what goes over another.
pub(crate) fn another_port(setup: &Setup, peer: &Peer, kind: &str) -> Outcome {
    let server = peer.serve(setup, &[kind])?;
    let watch = setup.watch_tls(free_port());
    let mut client = Client::start(peer.client(&["client"], &server, TIMES));
    watch.wait_until_probed(setup, client.pid());
    watch.wait_until_probed(setup, server.pid());
    client.ask();
    client.leave();
    let observed = watch.stop_after(0);
    observed.check_nothing_dropped();
    assert!(observed.records.is_empty(), "{:?}", observed.records);
    Ok(())
}

/// Checks the records of one end.
pub(crate) fn check(
    observed: &Observed,
    role: Role,
    library: Library,
    pid: u32,
    expected: &[&str],
) {
    let Some((name, version)) = library else { return };
    assert_eq!(observed.https_lines(role), expected, "at the {role}");
    for http in observed.side(role) {
        let connection = &http.traffic.connection;
        let encrypted = connection.encrypted.as_ref().map(ToString::to_string);
        assert_eq!(encrypted.as_deref(), Some(name), "the library at the {role}");
        let told = connection.encrypted_version.as_ref().map(ToString::to_string);
        assert!(told.unwrap_or_default().starts_with(version), "{version} at the {role}: {http}");
        assert_eq!(http.traffic.process.pid.0, pid, "whose exchange it is");
    }
}

/// `GET /bytes/1000 0 -> 200 1000`.
pub(crate) fn line(http: &Http) -> String {
    let (request, response) = (http.sent(), http.answered());
    format!(
        "{} {} {} -> {} {}",
        request.method, request.path, request.body.size, response.status, response.body.size
    )
}

/// The port that the client of an exchange has.
pub(crate) fn client_port(http: &Http, role: Role) -> Option<u16> {
    let connection = &http.traffic.connection;
    let client = if role == Role::Client { &connection.local } else { &connection.remote };
    client.as_ref().and_then(Address::port)
}

impl Observed {
    /// The exchanges of one end, in the order in which they began.
    pub(crate) fn in_order(&self, role: Role) -> Vec<&Http> {
        let mut exchanges: Vec<&Http> = self.side(role).collect();
        exchanges.sort_by_key(|http| http.traffic.monotonic);
        exchanges
    }

    /// Each exchange as a line, in the order in which they began.
    pub(crate) fn https_lines(&self, role: Role) -> Vec<String> {
        self.in_order(role).into_iter().map(line).collect()
    }

    /// Where both ends were seen, they saw the same: on the same connection, with as many bytes. Of
    /// long messages not all is captured; frames of HTTP/2 that begin in such a hole are counted as
    /// unobserved instead, and holes are where each end reads and writes.
    pub(crate) fn check_ends_agree(&self) {
        let ends = [Role::Client, Role::Server].map(|role| self.in_order(role));
        if ends.iter().any(Vec::is_empty) {
            return;
        }
        assert_eq!(ends[0].len(), ends[1].len(), "records at both ends");
        let (_, unobserved) = self.lost(Stage::Parser, Cause::Unobserved);
        for (client, server) in ends[0].iter().zip(&ends[1]) {
            let (here, there) = (&client.traffic.connection, &server.traffic.connection);
            assert!(here.remote.is_some() && here.remote == there.local, "server's address");
            assert!(here.local.is_some() && here.local == there.remote, "client's address");
            let (here, there) = (&client.traffic, &server.traffic);
            let requests = here.request_bytes.abs_diff(there.request_bytes);
            let responses = here.response_bytes.abs_diff(there.response_bytes);
            assert!(requests + responses <= unobserved, "{client}\n{server}");
            client.check_times();
            server.check_times();
        }
    }
}
