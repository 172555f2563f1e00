//! OpenSSL: of this system and of others, under other names, and inside of programs.

use super::exchange::{
    self, Client, Library, QUESTIONS, SYSTEM, TIMES, check, converse, converse_by,
};
use super::peers::{self, Peer};
use crate::chroot::Chroot;
use crate::clients::python as python_script;
use crate::fetch::python_packages;
use crate::process::{self, Running};
use crate::programs::{command, find};
use crate::runner::{Outcome, Setup, Skip, tests};
use pixie::id::Role;
use std::fs;
use std::path::Path;

tests! {
    core: nginx_and_curl;
    once: http2_of_nginx_and_curl, openssl_35, openssl_111, plain_calls, calls_with_sizes,
        calls_with_sizes_and_flags, what_is_peeked_at, early_data, part_of_a_program, blocking_python, asyncio, a_crowd_on_one_thread, another_port, node,
        node_with_a_library, cryptography_of_pypi, a_client_of_kafka_of_pypi;
    // Takes minutes to build.
    soak: openssl_110, openssl_40;
}

/// nginx and curl, of one system.
fn nginx_with_curl(
    setup: &Setup,
    chroot: Option<&Chroot>,
    options: &[&str],
    library: Library,
) -> Outcome {
    let server = peers::nginx(setup, chroot)?;
    let watch = setup.watch_tls(server.port);
    watch.wait_until_probed(setup, server.pid());
    let curl = Running::start(&mut peers::curl(setup, &server, chroot, options)?);
    let pid = curl.pid();
    curl.succeed();
    let expected = setup.questions();
    let observed = watch.stop_after(2 + 2 * expected.len());
    observed.check_nothing_dropped();
    check(&observed, Role::Client, library, pid, &expected);
    check(&observed, Role::Server, library, server.pid(), &expected);
    observed.check_ends_agree();
    Ok(())
}

fn nginx_and_curl(setup: &Setup) -> Outcome {
    nginx_with_curl(setup, None, &["--http1.1"], SYSTEM)
}

fn http2_of_nginx_and_curl(setup: &Setup) -> Outcome {
    nginx_with_curl(setup, None, &["--http2"], SYSTEM)
}

fn openssl_35(setup: &Setup) -> Outcome {
    let trixie = Chroot::new("trixie", &["curl", "nginx-light"])?;
    nginx_with_curl(setup, Some(&trixie), &["--http1.1"], Some(("openssl", "3.5.")))?;
    nginx_with_curl(setup, Some(&trixie), &["--http2"], Some(("openssl", "3.5.")))
}

fn openssl_111(setup: &Setup) -> Outcome {
    let bullseye = Chroot::new("bullseye", &["curl", "nginx-light"])?;
    nginx_with_curl(setup, Some(&bullseye), &["--http1.1"], Some(("openssl", "1.1.1")))?;
    nginx_with_curl(setup, Some(&bullseye), &["--http2"], Some(("openssl", "1.1.1")))
}

/// A server and a client that are the same program.
fn both(setup: &Setup, peer: &Peer, what: [&str; 2], library: Library) -> Outcome {
    let server = peer.serve(setup, &[what[0]])?;
    let client = peer.client(&[what[1]], &server, TIMES);
    converse(setup, &server, client, [library; 2])
}

fn openssl_110(setup: &Setup) -> Outcome {
    let peer = with_library_in(&peers::openssl_110()?, "openssl-1.1.0", &[])?;
    both(setup, &peer, ["server", "client"], Some(("openssl", "1.1.0")))
}

fn openssl_40(setup: &Setup) -> Outcome {
    let folder = peers::openssl_40()?;
    let peers = [
        with_library_in(&folder, "openssl-4.0", &[])?,
        with_library_in(&folder, "openssl-4.0-ex", &["-DWITH_EX"])?,
    ];
    for peer in peers {
        both(setup, &peer, ["server", "client"], Some(("openssl", "4.0.")))?;
    }
    Ok(())
}

/// A program of ours that uses the library in this folder, and its headers.
fn with_library_in(folder: &Path, name: &str, options: &[&str]) -> Result<Peer, Skip> {
    let folder = folder.display();
    let library = [
        &format!("-I{folder}/include"),
        &format!("-L{folder}"),
        "-lssl",
        "-lcrypto",
        &format!("-Wl,-rpath,{folder}"),
    ];
    peers::c(name, &[options, &library].concat())
}

fn plain_calls(setup: &Setup) -> Outcome {
    both(setup, &peers::c("openssl", &["-lssl", "-lcrypto"])?, ["server", "client"], SYSTEM)
}

fn calls_with_sizes(setup: &Setup) -> Outcome {
    let peer = peers::c("openssl-ex", &["-DWITH_EX", "-lssl", "-lcrypto"])?;
    both(setup, &peer, ["server", "client"], SYSTEM)
}

/// Since OpenSSL 3.3, `SSL_write_ex` is `SSL_write_ex2` without flags.
fn calls_with_sizes_and_flags(setup: &Setup) -> Outcome {
    let trixie = Chroot::new("trixie", &["python3"])?;
    let peer = peers::script_in(&trixie, "python3", "peer.py")?;
    both(setup, &peer, ["server", "client"], Some(("openssl", "3.5.")))
}

/// It is counted once.
fn what_is_peeked_at(setup: &Setup) -> Outcome {
    let peer = peers::c("openssl-peek", &["-DWITH_PEEK", "-lssl", "-lcrypto"])?;
    both(setup, &peer, ["server", "client"], SYSTEM)
}

/// A request that goes with the first flight of a session that is resumed (RFC 8446, section 2.3).
fn early_data(setup: &Setup) -> Outcome {
    let server = peers::nginx_with(setup, None, "ssl_early_data on;")?;
    let watch = setup.watch_tls(server.port);
    watch.wait_until_probed(setup, server.pid());
    let request = "GET /bytes/1000 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let file = server.file("request");
    fs::write(&file, request).expect("a folder of our own");
    let session = server.file("session").display().to_string();
    let openssl = find("openssl")?.display().to_string();
    let client = |options: &str| -> Result<(u32, String), Skip> {
        let mut client = command("sh")?;
        let command = format!(
            "exec {openssl} s_client -connect 127.0.0.1:{} -ign_eof {options} 2>&1",
            server.port
        );
        Ok(process::run(client.args(["-c", &command])))
    };
    let file = file.display();
    let (first, _) = client(&format!("-sess_out {session} < {file}"))?;
    let (second, said) = client(&format!("-sess_in {session} -early_data {file}"))?;
    assert!(said.contains("Early data was accepted"), "{said}");
    let observed = watch.stop_after(2 * 2 + 2 * 2);
    observed.check_nothing_dropped();
    for role in [Role::Client, Role::Server] {
        assert_eq!(observed.https_lines(role), [QUESTIONS[0]; 2], "at the {role}");
    }
    observed.check_ends_agree();
    let pids = observed.in_order(Role::Client).into_iter().map(|http| http.traffic.process.pid.0);
    assert_eq!(pids.collect::<Vec<_>>(), [first, second]);
    Ok(())
}

fn part_of_a_program(setup: &Setup) -> Outcome {
    let peer = peers::c("openssl-static", &["-l:libssl.a", "-l:libcrypto.a", "-pthread"])?;
    // The text with its version is not linked.
    both(setup, &peer, ["server", "client"], Some(("openssl", "")))
}

fn blocking_python(setup: &Setup) -> Outcome {
    both(setup, &peers::python(&[])?, ["server", "client"], SYSTEM)
}

/// Its TLS objects have memory on both sides: what leaves one is sent by somebody else.
fn asyncio(setup: &Setup) -> Outcome {
    both(setup, &peers::python(&[])?, ["aserver", "aclient"], SYSTEM)
}

fn a_crowd_on_one_thread(setup: &Setup) -> Outcome {
    exchange::crowd(setup, &peers::python(&[])?, 200)?;
    Ok(())
}

fn another_port(setup: &Setup) -> Outcome {
    exchange::another_port(setup, &peers::python(&[])?, "server")
}

/// OpenSSL as part of Node, whatever version of it that is.
fn node(setup: &Setup) -> Outcome {
    let node = peers::script(find("node")?)?;
    both(setup, &node, ["server", "client"], Some(("openssl", "3.")))
}

/// Node as Debian has it: `libnode.so`, which uses the system's library.
fn node_with_a_library(setup: &Setup) -> Outcome {
    let trixie = Chroot::new("trixie", &["nodejs"])?;
    let peer = peers::script_in(&trixie, "node", "peer.js")?;
    both(setup, &peer, ["server", "client"], Some(("openssl", "3.5.")))
}

/// pyOpenSSL, whose OpenSSL is in a wheel, linked into a module.
fn cryptography_of_pypi(setup: &Setup) -> Outcome {
    let server = peers::python(&[])?.serve(setup, &["server"])?;
    let client = peers::python(&["pyOpenSSL"])?.client(&["openssl"], &server, TIMES);
    // Python has its own library, too.
    converse_by(setup, &server, client, [Some(("openssl", "")), SYSTEM], "_rust.")
}

/// Asks for a token, over HTTPS. That it gets something else is an error, which it tells of.
const KAFKA: &str = r#"
import sys
from confluent_kafka import Producer
print("ready", flush=True)
sys.stdin.readline()
errors = []
producer = Producer({
    "bootstrap.servers": "127.0.0.1:1", "security.protocol": "sasl_ssl",
    "sasl.mechanisms": "OAUTHBEARER", "sasl.oauthbearer.method": "oidc",
    "sasl.oauthbearer.client.id": "me", "sasl.oauthbearer.client.secret": "secret",
    "sasl.oauthbearer.token.endpoint.url": f"https://localhost:{sys.argv[1]}/count",
    "https.ca.location": sys.argv[2], "log_level": 0,
    "error_cb": lambda error: errors.append(str(error)),
})
while not errors:
    producer.poll(0.1)
assert "not JSON" in errors[0], errors
# It would try again.
del producer
print("done", flush=True)
sys.stdin.readline()
"#;

/// librdkafka, with curl and an OpenSSL of its own inside, whose functions are local symbols.
fn a_client_of_kafka_of_pypi(setup: &Setup) -> Outcome {
    let packages = python_packages(&["confluent-kafka==2.16.1"])?;
    let server = peers::python(&[])?.serve(setup, &["server"])?;
    let certificate = server.file("cert.pem").display().to_string();
    let mut client = python_script(KAFKA, &[&server.port.to_string(), &certificate])?;
    client.env("PYTHONPATH", &packages);
    let watch = setup.watch_tls(server.port);
    let mut client = Client::start(client);
    watch.wait_until_probed_in(setup, client.pid(), "librdkafka");
    watch.wait_until_probed(setup, server.pid());
    client.ask();
    watch.wait(2 + 2);
    let pid = client.pid();
    client.leave();
    let observed = watch.stop_after(0);
    observed.check_nothing_dropped();
    let body = "grant_type=client_credentials".len();
    let asked = format!("POST /count {body} -> 200 3");
    check(&observed, Role::Client, Some(("openssl", "3.5.")), pid, &[&asked]);
    check(&observed, Role::Server, SYSTEM, server.pid(), &[&asked]);
    observed.check_ends_agree();
    Ok(())
}
