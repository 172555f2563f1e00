//! Tracers that come late, leave, and are killed, while programs go on.

use super::exchange::{Client, Library, QUESTIONS, SYSTEM, TIMES, check, line};
use super::peers::{self, Peer};
use crate::agent::Agent;
use crate::clients::python;
use crate::expect::HttpExt;
use crate::observe::Observed;
use crate::process::{Running, wait_for};
use crate::programs::find;
use crate::runner::{Outcome, Setup, Skip, skip, tests};
use crate::servers::{Server, free_port};
use pixie::id::Role;
use pixie::record::{Cause, Http, Stage};
use pixie::tls::{All, TlsFile};
use rustix::process::Signal;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

tests! {
    once: a_connection_older_than_the_tracer, older_connections, an_older_connection_of_http2,
        a_connection_seen_from_its_beginning, a_process_that_was_gone, a_killed_agent_leaves_no_probe,
        tracers_come_and_go;
    soak: a_thousand_tracers_come_and_go;
}

/// `older` asks once before it is ready, and three times when it is told to. `busy` asks all the time
/// until it is told to stop, looks at every byte, and says how often it asked.
const CLIENT: &str = r#"
import http.client, select, ssl, sys
what, port, byte = sys.argv[1:]
context = ssl._create_unverified_context()
connection = http.client.HTTPSConnection("127.0.0.1", int(port), context=context)
def get(size):
    connection.request("GET", f"/bytes/{size}")
    assert connection.getresponse().read() == bytes([int(byte)]) * size
get(1000)
print("ready", flush=True)
if what == "older":
    sys.stdin.readline()
    for _ in range(3):
        get(1000)
    print("done", flush=True)
    sys.stdin.readline()
else:
    asked = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        get(1000)
        get(50000)
        asked += 2
    print(asked, flush=True)
"#;

fn a_connection_older_than_the_tracer(setup: &Setup) -> Outcome {
    let server = peers::nginx(setup, None)?;
    let mut client = Client::start(python(CLIENT, &["older", &server.port.to_string(), "0"])?);
    let watch = setup.watch_tls(server.port);
    watch.wait_until_probed(setup, client.pid());
    watch.wait_until_probed(setup, server.pid());
    client.ask();
    watch.wait(2 * 3);
    let pid = client.pid();
    client.leave();
    let observed = watch.stop_after(2 * 3);
    observed.check_nothing_dropped();
    for (role, pid) in [(Role::Client, pid), (Role::Server, server.pid())] {
        check(&observed, role, SYSTEM, pid, &[QUESTIONS[0]; 3]);
    }
    observed.check_ends_agree();
    Ok(())
}

/// A client and a server whose connection was used before they are traced, and what is seen of it.
fn older(setup: &Setup, peer: &Peer, what: [&[&str]; 2]) -> Result<(Observed, [u32; 2]), Skip> {
    let server = peer.serve(setup, what[0])?;
    let mut client = peer.client(what[1], &server, TIMES);
    let mut client = Client::start({
        client.env("OLDER", "yes");
        client
    });
    let watch = setup.watch_tls(server.port);
    let pids = [client.pid(), server.pid()];
    pids.iter().for_each(|pid| watch.wait_until_probed(setup, *pid));
    client.ask();
    watch.wait(2 * QUESTIONS.len() * TIMES);
    client.leave();
    let observed = watch.stop_after(0);
    observed.check_nothing_dropped();
    // What was said before is a loss at both ends, and not an error.
    let tls = &observed.stats.tls;
    assert_eq!((tls.sessions, tls.sessions_joined), (2, 2), "{tls}");
    assert_eq!(observed.lost(Stage::Stream, Cause::BeforeTracing), (2, 0));
    assert_eq!(observed.stats.parser.malformed, 0, "{}", observed.stats);
    Ok((observed, pids))
}

/// Also where the library writes into memory, and where it is Go's.
fn older_connections(setup: &Setup) -> Outcome {
    let python = peers::python(&[])?;
    let node = peers::script(find("node")?)?;
    let go = peers::go_of_debian("", &[])?;
    // A server of Go's has its first answer under way while another goroutine reads what follows on it.
    let of_go: (&Peer, [&[&str]; 2], Library) =
        (&go, [&["server", "-tls"], &["client", "-tls"]], Some(("go", "go1.")));
    let others: [(&Peer, [&[&str]; 2], Library); 3] = [
        (&python, [&["server"], &["client"]], SYSTEM),
        (&python, [&["aserver"], &["aclient"]], SYSTEM),
        (&node, [&["server"], &["client"]], Some(("openssl", "3."))),
    ];
    for (number, (peer, what, library)) in others.into_iter().chain([of_go; 4]).enumerate() {
        let (observed, pids) = older(setup, peer, what)?;
        // The library of the second and the third writes into memory: what it read of the first question is
        // told of as lost when its answer is sent.
        let (calls, bytes) = observed.lost(Stage::Stream, Cause::UnknownConnection);
        assert_eq!((calls > 0, bytes > 0), ([1, 2].contains(&number), [1, 2].contains(&number)));
        let expected = QUESTIONS.repeat(TIMES);
        for (role, pid) in [Role::Client, Role::Server].into_iter().zip(pids) {
            let exchanges = later(&observed, role);
            let lines: Vec<String> = exchanges.iter().map(|http| line(http)).collect();
            assert_eq!(lines, expected[FIRST_WHOLE..], "at the {role}");
            for http in exchanges {
                let connection = &http.traffic.connection;
                let encrypted = connection.encrypted.as_ref().map(ToString::to_string);
                assert_eq!(encrypted.as_deref(), library.map(|(name, _)| name), "{http}");
                assert!(connection.local.is_some() && connection.remote.is_some(), "{http}");
                assert_eq!(http.traffic.process.pid.0, pid, "{http}");
            }
        }
    }
    Ok(())
}

/// From which exchange on all of it is known. Who waited in a call of the library when the tracer came
/// has only half of the first. Where the library writes into memory it is not told of at all: which
/// connection it is on, and so whether it is asked for, is known from the first that is sent.
const FIRST_WHOLE: usize = 1;

/// The exchanges from that one on.
fn later(observed: &Observed, role: Role) -> Vec<&Http> {
    let wanted = QUESTIONS.len() * TIMES - FIRST_WHOLE;
    let mut exchanges = observed.in_order(role);
    assert!(exchanges.len() >= wanted, "{} exchanges at the {role}", exchanges.len());
    exchanges.split_off(exchanges.len() - wanted)
}

/// What headers refer to was said before, so that not all of them can be told; all exchanges are.
fn an_older_connection_of_http2(setup: &Setup) -> Outcome {
    let go = peers::go_of_debian("", &[])?;
    let (observed, _) =
        older(setup, &go, [&["server", "-tls", "-h2"], &["client", "-tls", "-h2"]])?;
    for role in [Role::Client, Role::Server] {
        let exchanges = later(&observed, role);
        let statuses: Vec<u16> = exchanges.iter().map(|http| http.answered().status).collect();
        let expected = QUESTIONS.len() * TIMES - FIRST_WHOLE;
        assert_eq!(statuses, vec![200; expected], "at the {role}");
    }
    Ok(())
}

/// The opposite.
fn a_connection_seen_from_its_beginning(setup: &Setup) -> Outcome {
    let node = peers::script(find("node")?)?;
    let go = peers::go_of_debian("", &[])?;
    let runs: [(&Peer, [&[&str]; 2]); 3] = [
        (&peers::python(&[])?, [&["server"], &["client"]]),
        (&node, [&["server"], &["client"]]),
        (&go, [&["server", "-tls"], &["client", "-tls"]]),
    ];
    for (peer, what) in runs {
        let server = peer.serve(setup, what[0])?;
        let mut client = Client::start(peer.client(what[1], &server, TIMES));
        let watch = setup.watch_tls(server.port);
        watch.wait_until_probed(setup, client.pid());
        watch.wait_until_probed(setup, server.pid());
        client.ask();
        watch.wait(2 * QUESTIONS.len() * TIMES);
        client.leave();
        let observed = watch.stop_after(0);
        let tls = &observed.stats.tls;
        assert_eq!((tls.sessions, tls.sessions_joined), (2, 0), "{tls}");
    }
    Ok(())
}

/// How many bytes of this file's code are not in the process as they are in the file: each probe has
/// put a breakpoint in place of one.
fn patched(pid: u32, file: &str) -> usize {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("it is running");
    let memory = File::open(format!("/proc/{pid}/mem")).expect("root may read it");
    let code = maps.lines().filter(|line| line.contains("r-xp") && line.contains(file));
    let mut found = false;
    let patched = code.map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let hexadecimal = |word: &str| u64::from_str_radix(word, 16).expect("a number");
        let (start, end) = words[0].split_once('-').expect("a range");
        let (start, end) = (hexadecimal(start), hexadecimal(end));
        let mut here = vec![0; (end - start) as usize];
        memory.read_exact_at(&mut here, start).expect("it is mapped");
        let mut there = vec![0; here.len()];
        let read = File::open(format!("/proc/{pid}/root{}", words[5])).expect("its file");
        let read = read.read_at(&mut there, hexadecimal(words[2])).expect("its file");
        found = true;
        there.truncate(read);
        // Nearly all pages are equal, which is soon seen.
        let pages = here.chunks(4096).zip(there.chunks(4096)).filter(|(here, there)| here != there);
        pages
            .map(|(here, there)| here.iter().zip(there).filter(|(a, b)| a != b).count())
            .sum::<usize>()
    });
    let patched = patched.sum();
    assert!(found, "{file} is mapped by {pid}");
    patched
}

/// A client that is busy with a server all the time.
fn busy(server: &Server, byte: u8) -> Result<Running, Skip> {
    let arguments = ["busy", &server.port.to_string(), &byte.to_string()];
    let mut client = Running::start(&mut python(CLIENT, &arguments)?);
    assert_eq!(client.line().as_deref(), Some("ready"));
    Ok(client)
}

/// It went well all the time.
fn end(mut client: Running) {
    client.say("stop");
    let asked: u32 = client.line().and_then(|line| line.parse().ok()).expect("how often it asked");
    assert!(asked > 0, "it asked");
    client.succeed();
}

fn a_killed_agent_leaves_no_probe(setup: &Setup) -> Outcome {
    let server = peers::nginx(setup, None)?;
    let client = busy(&server, 0)?;
    let probes = || [client.pid(), server.pid()].map(|pid| patched(pid, "libssl.so"));
    assert_eq!(probes(), [0, 0], "before");
    let agent =
        Agent::start(Agent::command(setup, Some(server.port)).arg("tls")).expect("it traces");
    wait_for("probes", setup.patience(Duration::from_secs(60)), || {
        probes().iter().all(|probes| *probes > 0).then_some(())
    });
    agent.0.signal(Signal::KILL);
    let (status, _) = agent.0.end();
    assert!(!status.success());
    wait_for("end of all probes", setup.patience(Duration::from_secs(60)), || {
        (probes() == [0, 0]).then_some(())
    });
    end(client);
    Ok(())
}

/// Tracers attach and detach again while nginx, a server of Go and one of Node are busy.
fn come_and_go(setup: &Setup, times: u32) -> Outcome {
    let go = peers::go_of_debian("", &[])?;
    let servers = [
        (peers::nginx(setup, None)?, 0, "libssl.so"),
        (go.serve(setup, &["server", "-tls"])?, b'x', "go-debian"),
        (peers::script(find("node")?)?.serve(setup, &["server"])?, b'x', "/node"),
    ];
    let clients: Vec<Running> =
        servers.iter().map(|(server, byte, _)| busy(server, *byte)).collect::<Result<_, _>>()?;
    let probes = || -> Vec<usize> {
        servers.iter().map(|(server, _, file)| patched(server.pid(), file)).collect()
    };
    assert_eq!(probes(), [0, 0, 0], "before");
    for time in 1..=times {
        let watch = setup.watch(setup.tracer().tls(All));
        wait_for("probes", setup.patience(Duration::from_secs(60)), || {
            probes().iter().all(|probes| *probes > 0).then_some(())
        });
        drop(watch.stop_after(0));
        // Nothing of this tracer's is left; but others may trace the same files just now.
        wait_for("end of all probes", setup.patience(Duration::from_secs(60)), || {
            (probes() == [0, 0, 0]).then_some(())
        });
        if time % 100 == 0 {
            println!("  {time} tracers came and went");
        }
    }
    clients.into_iter().for_each(end);
    Ok(())
}

fn tracers_come_and_go(setup: &Setup) -> Outcome {
    come_and_go(setup, 3)
}

fn a_thousand_tracers_come_and_go(setup: &Setup) -> Outcome {
    come_and_go(setup, 1000)
}

/// Maps a library to execute it: first in a process that has ended by the time that somebody looks at it, as
/// far as that can be, and then in one that stays. No path leads to the library.
const MAPPED: &str = r#"
import mmap, os, sys, time
with open(sys.argv[1], "rb") as library:
    os.unlink(sys.argv[1])
    def map():
        return mmap.mmap(library.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC)
    if not os.fork():
        map()
        os._exit(0)
    os.wait()
    time.sleep(0.1)
    mapped = map()
    print("ready", flush=True)
    sys.stdin.readline()
"#;

/// What was first mapped by a process that is gone is probed in the next.
fn a_process_that_was_gone(setup: &Setup) -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let library = Path::new("/usr/lib/x86_64-linux-gnu/libssl.so.3");
    if !library.exists() {
        skip!("there is no {}", library.display());
    }
    let watch = setup.watch_tls(free_port());
    let mut all = Vec::new();
    // Some are looked at while they are there.
    for number in 0..10 {
        let copy = folder.path().join(format!("libgone{number}.so"));
        fs::copy(library, &copy).expect("a copy of the library");
        let mut process = Running::start(&mut python(MAPPED, &[&copy.display().to_string()])?);
        assert_eq!(process.line().as_deref(), Some("ready"));
        all.push(process);
    }
    wait_for("all of them", setup.patience(Duration::from_secs(60)), || {
        let traffic = watch.report().traffic?;
        let gone = |file: &&TlsFile| file.path.to_string_lossy().contains("/libgone");
        let probed = traffic.tls.iter().filter(gone).filter(|file| !file.attached.is_empty());
        (probed.count() == all.len()).then_some(())
    });
    for mut process in all {
        process.say("leave");
        process.succeed();
    }
    watch.stop_after(0);
    Ok(())
}
