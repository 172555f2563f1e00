//! The ways in which a kernel has probes on a library's functions. What is told is the same.

use super::exchange::{self, Client, Library, QUESTIONS, SYSTEM, TIMES, check, line};
use super::peers::{self, Peer};
use crate::backends::kernel;
use crate::expect::HttpExt;
use crate::observe::{Observed, Watch};
use crate::runner::{Outcome, Setup, Skip, skip, tests};
use pixie::id::Role;
use pixie::record::{Body, Headers};
use pixie::tls::{Libraries, OpenSsl};
use pixie::{Tracer, Uprobes};

tests! {
    once: of_openssl, of_go, of_one_process, many_at_once_or_not_at_all;
}

/// A tracer that probes in this way, as it says itself.
fn watch(setup: &Setup, tracer: Tracer, uprobes: Uprobes) -> Watch {
    let watch = setup.watch(tracer.uprobes(uprobes).ring_bytes(64 << 20));
    let used = watch.report().traffic.and_then(|traffic| traffic.uprobes);
    assert_eq!(used, Some(uprobes), "what was asked for is what there is");
    watch
}

/// What both ends of a conversation of ours tell when they are probed in this way.
fn observe(
    setup: &Setup,
    uprobes: Uprobes,
    peer: &Peer,
    options: &[&str],
    library: Library,
) -> Result<Observed, Skip> {
    let server = peer.serve(setup, &[&["server"], options].concat())?;
    let client = peer.client(&[&["client"], options].concat(), &server, TIMES);
    let libraries: Libraries = library.expect("one").0.parse().expect("its name");
    let watch = watch(setup, setup.tracer_of(server.port).tls(libraries), uprobes);
    Ok(exchange::observe(setup, watch, &server, client, [library; 2], ""))
}

/// What is the same whenever a client asks the same: all but times, ports, and where a long body was cut.
fn essence(observed: &Observed) -> Vec<String> {
    let headers = |headers: &Headers| -> Vec<String> {
        let same = headers.iter().filter(|(name, _)| {
            !name.eq_ignore_ascii_case(b"date") && !name.eq_ignore_ascii_case(b"host")
        });
        same.map(|(name, value)| format!("{}: {}", show(name), show(value))).collect()
    };
    let body = |body: &Body| show(body.bytes.get(..1000).unwrap_or(&body.bytes));
    let mut all = Vec::new();
    for role in [Role::Client, Role::Server] {
        all.extend(observed.in_order(role).into_iter().map(|http| {
            let (request, response) = (http.sent(), http.answered());
            let traffic = &http.traffic;
            format!(
                "{role} {} {:?} {} {:?} {}, {} {} bytes, by {:?} {:?}",
                line(http),
                headers(&request.headers),
                body(&request.body),
                headers(&response.headers),
                body(&response.body),
                traffic.request_bytes,
                traffic.response_bytes,
                traffic.connection.encrypted,
                traffic.connection.encrypted_version,
            )
        }));
    }
    all
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The same is told in either way, and it is what was said.
fn either_way(setup: &Setup, peer: &Peer, options: &[&str], library: Library) -> Outcome {
    if kernel() < (6, 6) {
        skip!("this kernel has one way alone, by which all tests go");
    }
    let told = |uprobes| {
        observe(setup, uprobes, peer, options, library).map(|observed| essence(&observed))
    };
    assert_eq!(told(Uprobes::Multi)?, told(Uprobes::Perf)?);
    Ok(())
}

fn of_openssl(setup: &Setup) -> Outcome {
    either_way(setup, &peers::c("openssl", &["-lssl", "-lcrypto"])?, &[], SYSTEM)
}

/// Here there are more of them, and some are told where a result lies.
fn of_go(setup: &Setup) -> Outcome {
    either_way(setup, &peers::go_of_debian("", &[])?, &["-tls"], Some(("go", "go1.")))
}

/// One by one, probes are in all processes: what others say is passed over by the programs.
fn of_one_process(setup: &Setup) -> Outcome {
    let peer = peers::python(&[])?;
    let server = peer.serve(setup, &["server"])?;
    let start = || Client::start(peer.client(&["client"], &server, TIMES));
    let mut clients = [start(), start()];
    let pid = clients[0].pid();
    let watch = watch(setup, setup.tracer().tls(OpenSsl).pid(pid), Uprobes::Perf);
    watch.wait_until_probed(setup, pid);
    for client in clients.iter_mut().rev() {
        client.ask();
    }
    watch.wait(QUESTIONS.len() * TIMES);
    clients.into_iter().for_each(Client::leave);
    let observed = watch.stop_after(0);
    check(&observed, Role::Client, SYSTEM, pid, &QUESTIONS.repeat(TIMES));
    assert!(observed.http().all(|http| http.traffic.process.pid.0 == pid));
    Ok(())
}

/// Who asks for what a kernel has not is told so.
fn many_at_once_or_not_at_all(setup: &Setup) -> Outcome {
    let start = |uprobes| {
        let tracer = setup.tracer().tls(OpenSsl).uprobes(uprobes).sink(pixie::sinks::Null);
        let session = tracer.start()?;
        let used = session.report().traffic.and_then(|traffic| traffic.uprobes);
        session.stop().map(|_| used)
    };
    let multi = start(Uprobes::Multi);
    let usual = start(Uprobes::Auto).unwrap_or_else(|error| panic!("{error}"));
    if kernel() >= (6, 6) {
        assert_eq!(multi.unwrap_or_else(|error| panic!("{error}")), Some(Uprobes::Multi));
        assert_eq!(usual, Some(Uprobes::Multi), "the better one is what is taken");
    } else {
        let error = multi.expect_err("there is no such thing before Linux 6.6");
        assert!(error.to_string().contains("TLS libraries"), "{error}");
        assert_eq!(usual, Some(Uprobes::Perf));
    }
    Ok(())
}
