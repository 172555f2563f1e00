//! gRPC: grpcio of Python, and grpc-go, in a program of ours and in etcd; both sides held against what
//! they say.

use crate::fetch::{making, python_packages};
use crate::observe::Observed;
use crate::process::{self, Running};
use crate::programs::{Facts, command, sources};
use crate::runner::{Outcome, Setup, Skip, skip, tests};
use crate::servers::{Server, certificate, free_port};

use pixie::Tracer;
use pixie::id::Role;
use pixie::record::{Grpc, GrpcStatus};
use pixie::tls::{BoringSsl, GoTls};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

tests! {
    core: calls_of_all_kinds;
    once: calls_of_go, etcd_and_its_client, inside_tls, etcd_inside_tls;
}

/// A program of ours that is a server or a client.
enum Peer {
    /// `grpc_peer.py`.
    Python,
    /// `grpc_peer.go`, compiled.
    Go(PathBuf),
}

impl Peer {
    fn go() -> Result<Self, Skip> {
        const PACKAGES: &str = "/usr/share/gocode";
        let source = sources().join("grpc_peer.go");
        if !source.is_file() || !Path::new(PACKAGES).join("src/google.golang.org/grpc").is_dir() {
            skip!("golang-google-grpc-dev is not installed");
        }
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("grpc_peer");
        let mut go = command("go")?;
        go.args(["build", "-o"]).args([&program, &source]).env("GO111MODULE", "off");
        go.env("GOPATH", PACKAGES).env("GOFLAGS", "");
        go.env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-build"));
        making("a program of grpc-go", &mut go)?;
        Ok(Self::Go(program))
    }

    /// It, with these arguments.
    fn command(&self, arguments: &[&str]) -> Result<Command, Skip> {
        let mut command = match self {
            Self::Go(program) => Command::new(program),
            Self::Python => {
                let script = sources().join("grpc_peer.py");
                if !script.is_file() {
                    skip!("grpc_peer.py is not in {}", sources().display());
                }
                let mut python = command("python3")?;
                // Its own threads would otherwise warn of each other on standard error.
                python.env("GRPC_VERBOSITY", "NONE");
                python.env("PYTHONPATH", python_packages(&["grpcio"])?).arg(script);
                python
            }
        };
        command.args(arguments);
        Ok(command)
    }

    /// How its clients send the metadata `00 ff`: in base64, but grpcio to itself as they are, after a
    /// zero.
    fn binary(&self) -> &'static [u8] {
        match self {
            Self::Python => b"\x00\x00\xff",
            Self::Go(_) => b"AP8",
        }
    }
}

impl Observed {
    /// The calls in which the traced process had this role.
    fn calls(&self, role: Role) -> Vec<&Grpc> {
        let calls = self.records.iter().filter_map(|record| match record {
            pixie::Record::Grpc(grpc) if grpc.traffic.role == Some(role) => Some(&**grpc),
            _ => None,
        });
        calls.collect()
    }

    /// Each call as a line, in the order in which they began.
    fn call_lines(&self, role: Role) -> Vec<String> {
        let mut calls = self.calls(role);
        calls.sort_by_key(|call| call.traffic.monotonic);
        calls.into_iter().map(line).collect()
    }
}

/// `Method 1:5 -> 1:10 ok`: messages and their bytes each way, and the status.
fn line(call: &Grpc) -> String {
    let request = call.request.as_ref().expect("a request");
    let response = call.response.as_ref().expect("a response");
    let status = match response.status {
        // What comes after a large message is not always captured.
        _ if response.messages.bytes == 40_000 => "maybe".to_owned(),
        Some(status) => status.to_string(),
        None => "no status".to_owned(),
    };
    format!(
        "{} {}:{} -> {}:{} {status}",
        request.method,
        request.messages.count,
        request.messages.bytes,
        response.messages.count,
        response.messages.bytes,
    )
}

const CALLS: [&str; 9] = [
    "Unary 1:5 -> 1:10 ok",
    "ClientStream 10:45 -> 1:2 ok",
    "ServerStream 1:2 -> 20:190 ok",
    "Both 5:500 -> 5:500 ok",
    "Unary 1:COMPRESSED -> 1:ANSWER ok",
    "Unary 1:4 -> 0:0 not_found",
    "Absent 1:0 -> 0:0 unimplemented",
    "Forever 1:0 -> 1:5 no status",
    "Unary 1:20000 -> 1:40000 maybe",
];

fn calls_of_all_kinds(setup: &Setup) -> Outcome {
    calls_are_seen(setup, &Peer::Python, &[], |tracer| tracer).map(drop)
}

fn calls_of_go(setup: &Setup) -> Outcome {
    calls_are_seen(setup, &Peer::go()?, &[], |tracer| tracer).map(drop)
}

/// BoringSSL, without symbols.
fn inside_tls(setup: &Setup) -> Outcome {
    let folder = tempfile::tempdir().expect("a temporary folder");
    certificate(folder.path());
    let files = ["cert.pem", "key.pem"].map(|name| folder.path().join(name).display().to_string());
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let option = |tracer: Tracer| tracer.tls(BoringSsl).only_protocol("http2");
    let observed = calls_are_seen(setup, &Peer::Python, &files, option)?;
    observed.check_encrypted("boringssl");
    Ok(())
}

/// Calls of all kinds, with a certificate and its key over TLS.
fn calls_are_seen(
    setup: &Setup,
    peer: &Peer,
    files: &[&str],
    option: impl FnOnce(Tracer) -> Tracer,
) -> Result<Observed, Skip> {
    let mut server = Running::start(&mut peer.command(&[&["server"], files].concat())?);
    let port: Facts = server.line().into_iter().collect();
    let port: u16 = port.one("port");
    let number = port.to_string();
    let client = peer.command(&[&["client", &number][..], files.get(..1).unwrap_or(&[])].concat());
    let tracer = option(setup.tracer_of(port));
    let (observed, facts) = setup.observe(tracer, 2 * CALLS.len(), || Facts::of(&mut client?));
    let facts = facts?;
    let got = ["unary", "client_stream", "server_stream", "both", "large", "compressed", "forever"];
    let got = got.map(|name| facts.one::<u32>(name));
    assert_eq!(got, [10, 45, 20, 500, 40_000, 2000, 5], "what the client got");
    assert_eq!(facts.all::<u32>("error"), [5, 12], "the errors that the client got");
    let lines = observed.call_lines(Role::Server);
    let calls = observed.calls(Role::Server);
    let is_compressed = |call: &&&Grpc| {
        call.request.as_ref().is_some_and(|request| request.messages.compressed == 1)
    };
    let compressed: Vec<_> = calls.iter().filter(is_compressed).collect();
    assert_eq!(compressed.len(), 1, "calls with a compressed message");
    let request = &compressed[0].request.as_ref().unwrap().messages;
    let answer = &compressed[0].response.as_ref().unwrap().messages;
    assert!(request.bytes < 1000, "{compressed:?}");
    // Go compresses answers to what was compressed.
    assert!(if answer.compressed == 1 { answer.bytes < 1000 } else { answer.bytes == 2000 });
    assert_eq!(&request.first[0].bytes[..], [b'w'; 1000]);
    assert_eq!(&answer.first[0].bytes[..], [b'w'; 2000]);
    let filled = |line: &&str| {
        line.replace("COMPRESSED", &request.bytes.to_string())
            .replace("ANSWER", &answer.bytes.to_string())
    };
    let expected: Vec<String> = CALLS.iter().map(filled).collect();
    assert_eq!(lines, expected, "calls in the server");
    details(&calls, peer.binary());
    assert_eq!(observed.call_lines(Role::Client), expected, "calls in the client");
    Ok(observed)
}

/// What a line does not show.
fn details(calls: &[&Grpc], binary: &[u8]) {
    let of = |size: u64| {
        let is_it = |call: &&&Grpc| {
            call.request.as_ref().is_some_and(|request| request.messages.bytes == size)
        };
        calls.iter().find(is_it).copied().expect("the call")
    };
    let call = of(5);
    let (request, response) = (call.request.as_ref().unwrap(), call.response.as_ref().unwrap());
    assert_eq!(request.headers.get("x-metadata"), Some(&b"one"[..]));
    assert_eq!(request.headers.get("x-binary-bin"), Some(binary));
    let timeout = request.timeout.expect("a timeout");
    assert!(timeout <= Duration::from_secs(30) && timeout > Duration::from_secs(25), "{timeout:?}");
    assert_eq!(response.headers.get("x-initial"), Some(&b"yes"[..]));
    assert_eq!(response.trailers.get("x-trailing"), Some(&b"yes"[..]));
    assert_eq!(&request.messages.first[0].bytes[..], b"hello");
    assert_eq!(&response.messages.first[0].bytes[..], b"hellohello");
    assert!(!call.is_error() && response.messages.complete);
    assert!(call.traffic.time_to_first_byte <= call.traffic.latency);
    let failed = of(4);
    let response = failed.response.as_ref().unwrap();
    assert_eq!(response.status, Some(GrpcStatus(5)));
    assert_eq!(response.message, "no caf\u{e9} 100%");
    assert!(failed.is_error());
    let cancelled = calls.iter().find(|call| call.reset.is_some()).expect("the cancelled call");
    assert_eq!(cancelled.reset.unwrap().name(), Some("cancel"));
    assert!(cancelled.is_error());
}

/// An etcd, by `http` or `https`.
fn etcd(setup: &Setup, scheme: &str) -> Result<Server, Skip> {
    let mut program = command("etcd")?;
    command("etcdctl")?;
    let (folder, port, peers) = (Server::prepare(), free_port(), free_port());
    let url = format!("{scheme}://127.0.0.1:{port}");
    let peers = format!("http://127.0.0.1:{peers}");
    program.arg("--data-dir").arg(folder.path().join("data"));
    program.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
    program.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
    program.args(["--initial-cluster", &format!("default={peers}"), "--log-level", "error"]);
    if scheme == "https" {
        certificate(folder.path());
        program.args(["--cert-file", "cert.pem", "--key-file", "key.pem"]);
        program.current_dir(folder.path());
    }
    Ok(Server::start(setup, folder, port, program))
}

fn etcdctl(server: &Server, scheme: &str, arguments: &[&str]) -> Result<Command, Skip> {
    let mut etcdctl = command("etcdctl")?;
    let url = format!("{scheme}://127.0.0.1:{}", server.port);
    etcdctl.env("ETCDCTL_API", "3").args(["--endpoints", &url]).args(arguments);
    if scheme == "https" {
        etcdctl.arg("--cacert").arg(server.file("cert.pem"));
    }
    Ok(etcdctl)
}

/// Puts, gets and deletes by etcdctl; the server also calls itself.
fn etcd_and_its_client(setup: &Setup) -> Outcome {
    let server = etcd(setup, "http")?;
    let run = |arguments: &[&str]| {
        etcdctl(&server, "http", arguments).map(|mut etcdctl| process::run(&mut etcdctl))
    };
    run(&["put", "ready", "yes"])?; // It has chosen its leader.
    let (observed, said) = setup.observe(setup.tracer_of(server.port), 6, || {
        run(&["put", "key", "a value"])?;
        run(&["get", "key"])?;
        run(&["del", "key"])
    });
    assert_eq!(said?.1.trim(), "1", "what etcdctl deleted");
    check_etcd(&observed);
    Ok(())
}

/// grpc-go, at both ends.
fn etcd_inside_tls(setup: &Setup) -> Outcome {
    let server = etcd(setup, "https")?;
    let run = |arguments: &[&str]| {
        etcdctl(&server, "https", arguments).map(|mut etcdctl| process::run(&mut etcdctl))
    };
    run(&["put", "ready", "yes"])?;
    let tracer = setup.tracer_of(server.port).tls(GoTls).only_protocol("http2");
    let watch = setup.watch(tracer);
    watch.wait_until_probed(setup, server.pid());
    // What is mapped already is probed for those that come.
    let other = Running::start(&mut etcdctl(&server, "https", &["watch", "nothing"])?);
    watch.wait_until_probed(setup, other.pid());
    run(&["put", "key", "a value"])?;
    run(&["get", "key"])?;
    run(&["del", "key"])?;
    let observed = watch.stop_after(6);
    observed.check_nothing_dropped();
    check_etcd(&observed);
    observed.check_encrypted("go");
    Ok(())
}

fn check_etcd(observed: &Observed) {
    for role in [Role::Client, Role::Server] {
        for method in ["Put", "Range", "DeleteRange"] {
            let calls = observed.calls(role);
            let is_it = |call: &&&Grpc| {
                call.request.as_ref().is_some_and(|request| request.method == method)
            };
            let calls: Vec<_> = calls.iter().filter(is_it).collect();
            // What the server asks of itself is not over this port.
            assert_eq!(calls.len(), 1, "calls of {method} in the {role}");
            let call = calls[0];
            let (request, response) =
                (call.request.as_ref().unwrap(), call.response.as_ref().unwrap());
            assert_eq!(request.service, "etcdserverpb.KV");
            assert_eq!((request.messages.count, response.messages.count), (1, 1));
            assert_eq!(response.status, Some(GrpcStatus::OK));
            let content = &request.messages.first[0].bytes;
            assert!(content.windows(3).any(|window| window == b"key"), "{content:?}");
        }
    }
}
