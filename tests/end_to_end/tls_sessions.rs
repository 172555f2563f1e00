//! Plaintext from inside TLS libraries: the records are those of the same traffic in the clear.

use crate::clients::{curl, python};
use crate::nginx;
use crate::observe::Observed;
use crate::process;
use crate::programs::command;
use crate::runner::{Outcome, Setup, Skip, tests};
use crate::servers::{Server, certificate, free_port, noise};
use pixie::Tracer;
use pixie::id::Role;
use pixie::record::{Http, HttpVersion};
use pixie::tls::OpenSsl;
use std::fs;

tests! {
    core: curl_and_nginx;
    once: http2, python_keeps_a_connection, a_big_body, ten_thousand_requests;
}

/// nginx, over TLS alone.
fn nginx(setup: &Setup) -> Result<Server, Skip> {
    let (folder, port) = (Server::prepare(), free_port());
    certificate(folder.path());
    let server = nginx::over_tls(folder.path(), port);
    let http = format!(
        "sendfile on; server {{ {server} location /teapot {{ return 418 'short and stout'; }} }}"
    );
    nginx::start(setup, folder, port, 2, &http)
}

impl Setup {
    /// A tracer of OpenSSL's connections with this port, without their handshakes.
    fn openssl_of(&self, port: u16) -> Tracer {
        self.tracer_of(port).tls(OpenSsl).only_protocol("http1").only_protocol("http2")
    }
}

impl Observed {
    fn of_role(&self, role: Role) -> Vec<&Http> {
        self.http().filter(|http| http.traffic.role == Some(role)).collect()
    }

    /// Checks that each exchange was seen at both ends, from inside OpenSSL, on the connection that
    /// carried it, with as many bytes as the server logged.
    fn check_both_ends(&self, setup: &Setup, server: &Server, expected: usize) {
        let log = server.log(setup, expected);
        assert_eq!(log.len(), expected, "requests that were logged");
        for role in [Role::Client, Role::Server] {
            let exchanges = self.of_role(role);
            assert_eq!(exchanges.len(), expected, "exchanges of the {role}");
            let mut left = log.clone();
            for http in exchanges {
                let connection = &http.traffic.connection;
                assert_eq!(connection.encrypted.as_ref().expect("its library"), "openssl");
                assert!(!http.traffic.process.comm.is_empty(), "{http}");
                let port = |end: &Option<_>| {
                    let end: &pixie::record::Address = end.as_ref().expect("both ends");
                    end.port().expect("a port")
                };
                let (near, far) = (port(&connection.local), port(&connection.remote));
                let (client, port) = if role == Role::Client { (near, far) } else { (far, near) };
                assert_eq!(port, server.port);
                let request = http.request.as_ref().expect("a request");
                let response = http.response.as_ref().expect("a response");
                let status = response.status;
                let place = left.iter().position(|logged| {
                    (logged.client_port, logged.status) == (client, status)
                        && request.path == logged.path.as_str()
                });
                let logged = left.remove(place.unwrap_or_else(|| panic!("{http} was not logged")));
                if role == Role::Server {
                    assert_eq!(http.traffic.process.pid.0, logged.pid, "{http}");
                }
                if request.version == HttpVersion::Http11 {
                    // nginx does not count a body that nothing of it asked for.
                    let head = http.traffic.request_bytes - request.body.size;
                    let bytes = (head, http.traffic.response_bytes);
                    assert_eq!(bytes, (logged.received, logged.sent), "{http}");
                }
            }
        }
    }
}

fn curl_and_nginx(setup: &Setup) -> Outcome {
    let server = nginx(setup)?;
    let url = |path: &str| format!("https://127.0.0.1:{}{path}", server.port);
    let into = server.file("got");
    let (observed, results) = setup.observe(setup.openssl_of(server.port), 8, || {
        let plain = ["-k", "--http1.1"];
        let post = ["-k", "--http1.1", "--data", "something"];
        let two = url("/page.html");
        let again = ["-k", "--http1.1", "-o", "/dev/null", &two];
        [
            curl(&url("/small.txt"), &into, &plain),
            curl(&url("/teapot"), &into, &post),
            // Both over one connection: curl prints its facts twice.
            curl_twice(&url("/small.txt"), &again),
        ]
    });
    let results = results.into_iter().collect::<Result<Vec<_>, Skip>>()?;
    observed.check_both_ends(setup, &server, 4);
    let client = observed.of_role(Role::Client);
    for (http, pid) in client.iter().zip([&results[0], &results[1], &results[2], &results[2]]) {
        assert_eq!(http.traffic.process.pid.0, pid.pid);
    }
    assert_eq!(client[0].response.as_ref().expect("a response").body.size, 1000);
    let request = client[1].request.as_ref().expect("a request");
    assert_eq!(&request.body.bytes[..], b"something");
    let id = |http: &Http| http.traffic.connection.id;
    assert_eq!(id(client[2]), id(client[3]), "one connection");
    assert_ne!(id(client[0]), id(client[1]), "two connections");
    Ok(())
}

/// Transfers two URLs over one connection.
fn curl_twice(url: &str, arguments: &[&str]) -> Result<crate::clients::Curl, Skip> {
    let mut command = command("curl")?;
    command.args(["--silent", "--show-error", "--noproxy", "*", "-o", "/dev/null"]);
    let (pid, _) = process::run(command.args(arguments).arg(url));
    Ok(crate::clients::Curl { pid, ..crate::clients::Curl::default() })
}

fn http2(setup: &Setup) -> Outcome {
    let server = nginx(setup)?;
    let url = |path: &str| format!("https://127.0.0.1:{}{path}", server.port);
    let into = server.file("got");
    let (observed, result) = setup.observe(setup.openssl_of(server.port), 4, || {
        let page = url("/page.html");
        curl(&url("/small.txt"), &into, &["-k", "--http2"])
            .and_then(|_| curl_twice(&url("/teapot"), &["-k", "--http2", "-d", "more", &page]))
    });
    result?;
    observed.check_both_ends(setup, &server, 3);
    for http in observed.http() {
        assert_eq!(http.request.as_ref().expect("a request").version, HttpVersion::Http2);
    }
    Ok(())
}

/// Python reads and writes by other functions: `SSL_read_ex` and `SSL_write_ex`.
fn python_keeps_a_connection(setup: &Setup) -> Outcome {
    const SCRIPT: &str = "
import http.client, ssl, sys
context = ssl._create_unverified_context()
connection = http.client.HTTPSConnection('127.0.0.1', int(sys.argv[1]), context=context)
for path in ['/small.txt', '/page.html', '/teapot'] * 5:
    connection.request('GET' if path != '/teapot' else 'POST', path, b'x' * 5000)
    response = connection.getresponse()
    print(response.status, len(response.read()))
";
    let server = nginx(setup)?;
    let mut client = python(SCRIPT, &[&server.port.to_string()])?;
    let (observed, (pid, _)) =
        setup.observe(setup.openssl_of(server.port), 30, || process::run(&mut client));
    observed.check_both_ends(setup, &server, 15);
    for http in observed.of_role(Role::Client) {
        assert_eq!(http.traffic.process.pid.0, pid);
        assert_eq!(http.request.as_ref().expect("a request").body.size, 5000);
    }
    Ok(())
}

fn a_big_body(setup: &Setup) -> Outcome {
    const SIZE: usize = 50 << 20;
    let server = nginx(setup)?;
    let bytes = noise(SIZE);
    fs::write(server.www().join("big"), &bytes).expect("a big file");
    let url = format!("https://127.0.0.1:{}/big", server.port);
    let into = server.file("got");
    let (observed, result) =
        setup.observe(setup.openssl_of(server.port), 2, || curl(&url, &into, &["-k", "--http1.1"]));
    result?;
    assert!(fs::read(&into).expect("what was got") == bytes, "what was got is what was served");
    observed.check_both_ends(setup, &server, 1);
    for http in observed.http() {
        let body = &http.response.as_ref().expect("a response").body;
        assert_eq!(body.size, SIZE as u64);
        assert!(body.bytes.len() < SIZE / 1000);
    }
    Ok(())
}

fn ten_thousand_requests(setup: &Setup) -> Outcome {
    const REQUESTS: usize = 10_000;
    const AMPLE: usize = 64 << 20;
    let server = nginx(setup)?;
    let url = format!("https://127.0.0.1:{}/small.txt", server.port);
    let mut load = command("h2load")?;
    load.args(["--h1", "-n", &REQUESTS.to_string(), "-c", "20", &url]);
    let tracer = setup.openssl_of(server.port).ring_bytes(AMPLE);
    let (observed, (_, said)) = setup.observe(tracer, 2 * REQUESTS, || process::run(&mut load));
    assert!(said.contains(&format!("{REQUESTS} succeeded")), "{said}");
    observed.check_both_ends(setup, &server, REQUESTS);
    Ok(())
}
