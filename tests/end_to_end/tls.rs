//! TLS handshakes between real programs, both sides held against what the programs say.

use crate::clients::python;
use crate::nginx;
use crate::observe::Observed;
use crate::process::{self, Running};
use crate::programs::command;
use crate::runner::{Outcome, Setup, Skip, tests};
use crate::servers::{Server, free_port};
use pixie::id::Role;
use pixie::record::TlsHandshake;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

tests! {
    core: versions_of_curl_and_nginx;
    once: versions_and_ciphers_of_openssl, another_hello_is_asked_for, sessions_go_on, python_names_the_server,
        an_unknown_authority, versions_that_do_not_meet, a_client_that_hangs_up,
        what_follows_is_left_alone;
}

/// A certificate for `localhost` with an RSA key, which some of the ciphers need, in the server's folder.
fn certificate(folder: &Path) -> Result<(), Skip> {
    let mut openssl = command("openssl")?;
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"]);
    openssl.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]);
    openssl.args(["-keyout", "key.pem", "-out", "cert.pem"]).current_dir(folder);
    process::run(openssl.stderr(Stdio::null()));
    Ok(())
}

/// `openssl s_server`, which answers nothing.
fn s_server(setup: &Setup, arguments: &[&str]) -> Result<Server, Skip> {
    let mut program = command("openssl")?;
    let (folder, port) = (Server::prepare(), free_port());
    certificate(folder.path())?;
    program.args(["s_server", "-accept", &format!("127.0.0.1:{port}"), "-quiet"]);
    program.args(["-cert", "cert.pem", "-key", "key.pem"]).args(arguments);
    program.current_dir(folder.path());
    Ok(Server::start(setup, folder, port, program))
}

/// nginx, which speaks HTTP/2 and all versions from TLS 1.2 on.
fn nginx(setup: &Setup) -> Result<Server, Skip> {
    let (folder, port) = (Server::prepare(), free_port());
    certificate(folder.path())?;
    let http = format!("server {{ {} }}", nginx::over_tls(folder.path(), port));
    nginx::start(setup, folder, port, 0, &http)
}

/// `openssl s_client`, whose input is at its end.
fn s_client(server: &Server, arguments: &[&str]) -> Result<Command, Skip> {
    let mut client = command("openssl")?;
    client.args(["s_client", "-connect", &format!("127.0.0.1:{}", server.port)]).args(arguments);
    client.stdin(Stdio::null()).stderr(Stdio::null());
    Ok(client)
}

/// What a program said, however it ended.
fn said(command: &mut Command) -> String {
    let output = process::output(command);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Observed {
    fn handshakes(&self, role: Role) -> Vec<&TlsHandshake> {
        let side = self.records.iter().filter_map(|record| match record {
            pixie::Record::TlsHandshake(tls) if tls.traffic.role == Some(role) => Some(&**tls),
            _ => None,
        });
        side.collect()
    }

    /// What each handshake says in a line; both sides must say the same.
    fn handshake_lines(&self) -> Vec<String> {
        let side = |role| self.handshakes(role).into_iter().map(line).collect::<Vec<_>>();
        let (client, server) = (side(Role::Client), side(Role::Server));
        assert_eq!(client, server, "what the client and the server saw");
        let requests = |role| -> Vec<_> {
            self.handshakes(role).into_iter().map(|tls| tls.request.clone()).collect()
        };
        assert_eq!(requests(Role::Client), requests(Role::Server));
        client
    }
}

/// `localhost TLSv1.3 TLS_AES_256_GCM_SHA384 x25519 -`: the name, and what was chosen.
fn line(tls: &TlsHandshake) -> String {
    let name = tls.request.as_ref().and_then(|request| request.server_name.clone());
    let mut line = name.map_or("?".to_owned(), |name| name.to_string());
    if let Some(response) = &tls.response {
        let group = response.group.map_or("-".to_owned(), |group| group.to_string());
        let alpn = response.alpn.as_ref().map_or("-".to_owned(), ToString::to_string);
        line += &format!(" {} {} {group} {alpn}", response.version, response.cipher);
        if response.resumed {
            line += " resumed";
        }
    }
    match &tls.alert {
        Some(alert) => {
            let what = alert.description.map_or("?".to_owned(), |what| what.to_string());
            line += &format!(" {what} from {}", alert.sender);
        }
        None if tls.complete => assert!(tls.traffic.latency.is_some(), "{tls}"),
        None => line += " not finished",
    }
    line
}

fn versions_of_curl_and_nginx(setup: &Setup) -> Outcome {
    let server = nginx(setup)?;
    let url = format!("https://localhost:{}/small.txt", server.port);
    let to = format!("localhost:{}:127.0.0.1", server.port);
    let runs = [("--tls-max", "1.2"), ("--tls-max", "1.3")];
    let tracer = setup.tracer_of(server.port).only_protocol("tls");
    let (observed, pids) = setup.observe(tracer, 2 * runs.len(), || {
        runs.map(|(option, version)| {
            let mut curl = command("curl")?;
            curl.args([
                "-s",
                "-k",
                "--http2",
                "--resolve",
                &to,
                option,
                version,
                "-o",
                "/dev/null",
            ]);
            let curl = Running::start(curl.arg(&url));
            let pid = curl.pid();
            curl.succeed();
            Ok(pid)
        })
    });
    assert_eq!(
        observed.handshake_lines(),
        [
            "localhost TLSv1.2 TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 x25519 h2",
            "localhost TLSv1.3 TLS_AES_256_GCM_SHA384 x25519 -",
        ]
    );
    let pids = pids.into_iter().collect::<Result<Vec<u32>, Skip>>()?;
    let certificate = fs::read_to_string(server.file("cert.pem")).expect("the certificate");
    let digits = certificate.lines().filter(|line| !line.starts_with('-')).collect::<String>();
    let padding = digits.chars().rev().take_while(|digit| *digit == '=').count();
    let size = (digits.len() / 4 * 3 - padding) as u32;
    for (number, pid) in pids.into_iter().enumerate() {
        let client = observed.handshakes(Role::Client)[number];
        let other = observed.handshakes(Role::Server)[number];
        assert_eq!(client.traffic.process.pid.0, pid);
        assert_eq!(other.traffic.process.pid.0, server.pid());
        let request = client.request.as_ref().expect("a hello");
        assert_eq!(request.alpn, ["h2", "http/1.1"]);
        assert!(request.ja4.to_string().starts_with(["t12d", "t13d"][number]), "{}", request.ja4);
        let sizes = &client.response.as_ref().expect("a hello").certificate_sizes;
        let expected = if number == 0 { vec![size] } else { Vec::new() };
        assert_eq!(*sizes, expected);
        assert!(!client.is_error());
    }
    Ok(())
}

fn versions_and_ciphers_of_openssl(setup: &Setup) -> Outcome {
    // The oldest need a security level that allows SHA-1.
    let server = s_server(setup, &["-cipher", "ALL:@SECLEVEL=0", "-alpn", "a,b"])?;
    let runs: [(&[&str], &str); 6] = [
        (&["-tls1"], "? TLSv1.0 TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA x25519 b"),
        (&["-tls1_1"], "? TLSv1.1 TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA x25519 b"),
        (
            &["-tls1_2", "-cipher", "AES128-GCM-SHA256"],
            "? TLSv1.2 TLS_RSA_WITH_AES_128_GCM_SHA256 - b",
        ),
        (
            &["-tls1_2", "-cipher", "ECDHE-RSA-CHACHA20-POLY1305", "-curves", "P-384"],
            "? TLSv1.2 TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 secp384r1 b",
        ),
        (
            &["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256", "-servername", "a.test"],
            "a.test TLSv1.3 TLS_AES_128_GCM_SHA256 x25519 -",
        ),
        (&["-tls1_3", "-groups", "P-521:X25519"], "? TLSv1.3 TLS_AES_256_GCM_SHA384 secp521r1 -"),
    ];
    let tracer = setup.tracer_of(server.port);
    let (observed, shown) = setup.observe(tracer, 2 * runs.len(), || {
        runs.map(|(arguments, _)| {
            let always = ["-alpn", "b", "-noservername"];
            let named = arguments.contains(&"-servername");
            let always = if named { &always[..2] } else { &always[..] };
            let mut client = s_client(&server, always)?;
            // Unless it says otherwise itself, what is old will do.
            if !arguments.contains(&"-cipher") {
                client.args(["-cipher", "DEFAULT:@SECLEVEL=0"]);
            }
            Ok(said(client.args(arguments)))
        })
    });
    assert_eq!(observed.handshake_lines(), runs.map(|(_, line)| line));
    for (shown, tls) in shown.into_iter().zip(observed.handshakes(Role::Client)) {
        // `New, TLSv1.2, Cipher is …`
        let shown = shown?;
        assert!(shown.contains("Cipher is ") && !shown.contains("(NONE)"), "{shown}");
        assert!(tls.complete && !tls.is_error() && !tls.hello_retry, "{tls}");
    }
    Ok(())
}

/// The client guesses a group that the server does not take.
fn another_hello_is_asked_for(setup: &Setup) -> Outcome {
    let server = s_server(setup, &["-groups", "P-256"])?;
    let client = &mut s_client(&server, &["-tls1_3", "-groups", "X25519:P-256", "-noservername"])?;
    let (observed, _) = setup.observe(setup.tracer_of(server.port), 2, || said(client));
    let lines = observed.handshake_lines();
    assert_eq!(lines, ["? TLSv1.3 TLS_AES_256_GCM_SHA384 secp256r1 -"]);
    for role in [Role::Client, Role::Server] {
        let tls = observed.handshakes(role)[0];
        assert!(tls.hello_retry && tls.complete, "{tls}");
    }
    Ok(())
}

fn sessions_go_on(setup: &Setup) -> Outcome {
    for version in ["-tls1_2", "-tls1_3"] {
        let server = s_server(setup, &[])?;
        let session = server.file("session");
        let session = session.to_str().expect("a path of text");
        let tracer = setup.tracer_of(server.port);
        let (observed, shown) = setup.observe(tracer, 4, || {
            // Tickets of TLS 1.3 come after the handshake.
            let keep = [version, "-sess_out", session];
            let mut first = Running::start(s_client(&server, &keep)?.stdin(Stdio::piped()));
            while first.line().is_some_and(|line| !line.contains("Verify return code")) {}
            std::thread::sleep(std::time::Duration::from_millis(200));
            first.succeed();
            Ok(said(&mut s_client(&server, &[version, "-sess_in", session])?))
        });
        let shown = shown?;
        assert!(shown.contains("Reused, TLSv1."), "{shown}");
        let lines = observed.handshake_lines();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(!lines[0].ends_with("resumed") && lines[1].ends_with("resumed"), "{lines:?}");
        let offers = observed.handshakes(Role::Client);
        let offers = offers.into_iter().filter_map(|tls| tls.request.as_ref());
        assert_eq!(offers.map(|hello| hello.offers_resumption).collect::<Vec<_>>(), [false, true]);
    }
    Ok(())
}

const PYTHON: &str = r#"
import socket, ssl, sys
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.set_alpn_protocols(["x", "y"])
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as plain:
    with context.wrap_socket(plain, server_hostname="python.test") as tls:
        print(tls.version(), tls.cipher()[0])
"#;

fn python_names_the_server(setup: &Setup) -> Outcome {
    let server = s_server(setup, &[])?;
    let mut client = python(PYTHON, &[&server.port.to_string()])?;
    let (observed, shown) = setup.observe(setup.tracer_of(server.port), 2, || said(&mut client));
    assert_eq!(shown.trim(), "TLSv1.3 TLS_AES_256_GCM_SHA384");
    let lines = observed.handshake_lines();
    assert_eq!(lines, ["python.test TLSv1.3 TLS_AES_256_GCM_SHA384 x25519 -"]);
    let hello = observed.handshakes(Role::Server)[0].request.as_ref().expect("a hello");
    assert_eq!(hello.alpn, ["x", "y"]);
    Ok(())
}

fn an_unknown_authority(setup: &Setup) -> Outcome {
    let server = nginx(setup)?;
    let url = format!("https://localhost:{}/", server.port);
    let to = format!("localhost:{}:127.0.0.1", server.port);
    let (observed, statuses) = setup.observe(setup.tracer_of(server.port), 4, || {
        ["1.2", "1.3"].map(|version| {
            let mut curl = command("curl")?;
            curl.args(["-s", "--resolve", &to, "--tls-max", version, &url]);
            Ok(process::output(&mut curl).status.code())
        })
    });
    for status in statuses {
        assert_eq!(status?, Some(60), "curl does not know the authority");
    }
    // The client says so before it has read all of the server's flight.
    for role in [Role::Client, Role::Server] {
        let lines: Vec<String> = observed.handshakes(role).into_iter().map(line).collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("localhost TLSv1.2 "), "{lines:?}");
        assert!(lines[1].starts_with("localhost TLSv1.3 "), "{lines:?}");
        assert!(lines.iter().all(|line| line.ends_with(" unknown_ca from client")), "{lines:?}");
    }
    assert!(observed.handshakes(Role::Client).iter().all(|tls| tls.is_error() && !tls.complete));
    Ok(())
}

fn versions_that_do_not_meet(setup: &Setup) -> Outcome {
    let server = s_server(setup, &["-tls1_3"])?;
    let client = &mut s_client(&server, &["-tls1_2", "-noservername"])?;
    let (observed, _) = setup.observe(setup.tracer_of(server.port), 2, || said(client));
    assert_eq!(observed.handshake_lines(), ["? protocol_version from server"]);
    assert!(observed.handshakes(Role::Server)[0].is_error());
    Ok(())
}

const HANG_UP: &str = r#"
import socket, ssl, sys
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="gone.test")
try:
    tls.do_handshake()
except ssl.SSLWantReadError:
    pass
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as plain:
    plain.sendall(outgoing.read())
    plain.recv(1)
"#;

fn a_client_that_hangs_up(setup: &Setup) -> Outcome {
    let server = s_server(setup, &[])?;
    let mut client = python(HANG_UP, &[&server.port.to_string()])?;
    let (observed, _) = setup.observe(setup.tracer_of(server.port), 2, || said(&mut client));
    for role in [Role::Client, Role::Server] {
        let found = observed.handshakes(role);
        assert_eq!(found.len(), 1, "of the {role}");
        assert!(!found[0].complete && !found[0].is_error(), "{}", found[0]);
        assert_eq!(found[0].traffic.latency, None);
        let name = found[0].request.as_ref().and_then(|hello| hello.server_name.as_ref());
        assert_eq!(name.map(ToString::to_string).as_deref(), Some("gone.test"));
    }
    Ok(())
}

/// Of megabytes that are encrypted, next to nothing is captured.
fn what_follows_is_left_alone(setup: &Setup) -> Outcome {
    const SIZE: usize = 20 << 20;
    let server = nginx(setup)?;
    fs::write(server.www().join("large"), vec![b'x'; SIZE]).expect("a large file");
    let url = format!("https://127.0.0.1:{}/large", server.port);
    let mut curl = command("curl")?;
    curl.args(["-s", "-k", "-o", "/dev/null", "--limit-rate", "20M", &url]);
    let (observed, _) = setup.observe(setup.tracer_of(server.port), 2, || process::run(&mut curl));
    assert_eq!(observed.handshake_lines().len(), 1);
    let (seen, total) = (observed.stats.stream.bytes_delivered, observed.stats.stream.bytes_total);
    assert!(seen < total / 20, "{seen} bytes of {total} were captured");
    Ok(())
}
