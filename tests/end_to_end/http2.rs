//! HTTP/2: the servers and clients of Debian, both sides held against what the programs say.

use crate::clients::curl;
use crate::expect::{HttpExt, header, starts_with};
use crate::nginx;
use crate::observe::Observed;
use crate::process;
use crate::programs::command;
use crate::runner::{Outcome, Setup, Skip, skip, tests};
use crate::servers::{Server, apache, free_port, noise, text};
use pixie::id::Role;
use pixie::record::{Body, Cause, Http, HttpVersion, Stage};
use std::fs;
use std::path::Path;

tests! {
    core: nghttpd_and_curl;
    once: nginx_and_curl, apache_and_curl_upgrade, streams_at_once, large_streams_at_once,
        a_large_body, an_upload, pushed_responses, a_connection_older_than_the_tracer;
}

/// The server of nghttp2. It pushes `/small.txt` with `/page.html`, and adds a trailer.
fn nghttpd(setup: &Setup, arguments: &[&str]) -> Result<Server, Skip> {
    let mut program = command("nghttpd")?;
    let (folder, port) = (Server::prepare(), free_port());
    program.args(["--no-tls", "--address", "127.0.0.1", "--htdocs"]).arg(folder.path().join("www"));
    program.args(arguments).arg(port.to_string());
    Ok(Server::start(setup, folder, port, program))
}

/// nginx, which speaks HTTP/2 in clear to those who begin with it.
fn nginx(setup: &Setup) -> Result<Server, Skip> {
    let (folder, port) = (Server::prepare(), free_port());
    let path = folder.path().display();
    let http = format!(
        "default_type application/octet-stream;
         server {{
             listen 127.0.0.1:{port} http2; root {path}/www;
             location /gzip/ {{ alias {path}/www/; gzip on; gzip_types *; }}
         }}"
    );
    nginx::start(setup, folder, port, 1, &http)
}

/// A ring, in bytes, that holds all that is asked for at once.
const AMPLE: usize = 16 << 20;

const PRIOR: &str = "--http2-prior-knowledge";

impl Observed {
    /// The one exchange of HTTP/2 with this path and role.
    fn http2(&self, role: Role, path: &str) -> &Http {
        let is_it =
            |http: &&Http| http.path() == path && http.answered().version == HttpVersion::Http2;
        let found: Vec<_> = self.side(role).filter(is_it).collect();
        assert_eq!(found.len(), 1, "records of {path} in the {role}");
        found[0]
    }

    /// Bytes that parsers passed over, for whatever reason.
    fn passed_over(&self) -> u64 {
        self.lost(Stage::Parser, Cause::Malformed).1 + self.lost(Stage::Parser, Cause::Unobserved).1
    }
}

/// GET, HEAD, an error; sizes, addresses and headers as curl knows them.
fn with_curl(setup: &Setup, server: &Server, software: &str) -> Outcome {
    let file = server.file("got");
    let get = |path: &str, arguments: &[&str]| {
        curl(&server.url(path), &file, &[&[PRIOR], arguments].concat())
    };
    let tracer = setup.tracer_of(server.port);
    let (observed, results) = setup.observe(tracer, 6, || -> Result<_, Skip> {
        let first = get("/small.txt?key=value", &["--header", "X-Test: one"])?;
        assert_eq!(fs::read(&file).unwrap(), text(1000), "what curl got");
        let head = get("/page.html", &["--head"])?;
        let absent = get("/absent", &[])?;
        Ok([first, head, absent])
    });
    let [first, head, absent] = results?;
    assert_eq!([first.status, head.status, absent.status], [200, 200, 404], "what curl got");

    let pair = observed.pair("/small.txt?key=value");
    pair.client_port(first.local_port).request("GET", 0).response(200, 1000);
    let (request, response) = (pair.client.sent(), pair.client.answered());
    assert_eq!((request.version, response.version), (HttpVersion::Http2, HttpVersion::Http2));
    assert_eq!(header(&request.headers, ":authority"), format!("127.0.0.1:{}", server.port));
    assert_eq!(header(&request.headers, ":scheme"), "http");
    assert_eq!(header(&request.headers, "x-test"), "one");
    assert!(header(&request.headers, "user-agent").starts_with("curl/"));
    assert!(header(&response.headers, "server").contains(software), "{:?}", response.headers);
    assert!(request.headers.is_complete() && response.headers.is_complete());
    starts_with(&response.body, &text(1000));
    assert_eq!(pair.client.traffic.process.pid.0, first.pid);
    let (latency, took) = (pair.client.latency(), first.took);
    assert!(latency <= took, "a latency of {latency:?} where curl took {took:?}");

    observed.pair("/page.html").request("HEAD", 0).response(200, 0);
    let pair = observed.pair("/absent");
    pair.request("GET", 0).response(404, absent.downloaded);
    assert!(pair.client.is_error() && pair.server.is_error());
    assert_eq!(observed.http().count(), 6, "records");
    assert_eq!(observed.passed_over(), 0, "bytes passed over");
    Ok(())
}

fn nghttpd_and_curl(setup: &Setup) -> Outcome {
    let server = nghttpd(setup, &["--trailer", "x-trailer: yes", "--padding", "100"])?;
    with_curl(setup, &server, "nghttpd")
}

fn nginx_and_curl(setup: &Setup) -> Outcome {
    with_curl(setup, &nginx(setup)?, "nginx")
}

/// The request that asks for the change goes over HTTP/1.1, the response to it over HTTP/2.
fn apache_and_curl_upgrade(setup: &Setup) -> Outcome {
    let module = Path::new("/usr/lib/apache2/modules/mod_http2.so");
    if !module.is_file() {
        skip!("apache2 has no mod_http2");
    }
    let server = apache_with_http2(setup, module)?;
    let file = server.file("got");
    let tracer = setup.tracer_of(server.port);
    let url = server.url("/small.txt");
    let (observed, got) = setup.observe(tracer, 4, || curl(&url, &file, &["--http2"]));
    assert_eq!(got?.status, 200);
    assert_eq!(fs::read(&file).unwrap(), text(1000), "what curl got");
    for role in [Role::Client, Role::Server] {
        let upgrade = observed.side(role).find(|http| http.answered().status == 101);
        let upgrade = upgrade.expect("the change of protocol");
        assert_eq!(upgrade.path(), "/small.txt");
        let http = observed.http2(role, "/small.txt");
        assert_eq!(http.sent().version, HttpVersion::Http11);
        assert_eq!((http.answered().status, http.answered().body.size), (200, 1000));
        assert!(header(&http.answered().headers, "server").contains("Apache"));
        starts_with(&http.answered().body, &text(1000));
        assert!(upgrade.latency() <= http.latency(), "the change comes before the answer");
    }
    assert_eq!(observed.http().count(), 4, "records");
    assert_eq!(observed.passed_over(), 0, "bytes passed over");
    Ok(())
}

/// Apache as the other tests have it, with HTTP/2 beside.
fn apache_with_http2(setup: &Setup, module: &Path) -> Result<Server, Skip> {
    drop(apache(setup)?); // It can run here.
    let (folder, port) = (Server::prepare(), free_port());
    let (path, modules) = (folder.path().display(), module.parent().unwrap_or(module).display());
    let configuration = format!(
        r"
        ServerRoot {path}
        ServerName localhost
        Listen 127.0.0.1:{port}
        PidFile {path}/pid
        ErrorLog {path}/errors
        LoadModule mpm_event_module {modules}/mod_mpm_event.so
        LoadModule authz_core_module {modules}/mod_authz_core.so
        LoadModule http2_module {modules}/mod_http2.so
        Protocols h2c http/1.1
        User nobody
        Group nogroup
        DocumentRoot {path}/www
        "
    );
    let file = folder.path().join("apache.conf");
    fs::write(&file, configuration).expect("a configuration file");
    let mut program = command("apache2")?;
    program.arg("-f").arg(&file).arg("-DFOREGROUND");
    Ok(Server::start(setup, folder, port, program))
}

/// As many requests over as many connections with as many streams at once.
fn h2load(server: &Server, requests: u32, arguments: &[&str], path: &str) -> Result<(), Skip> {
    let mut h2load = command("h2load")?;
    h2load.args(["--requests", &requests.to_string()]).args(arguments).arg(server.url(path));
    let (_, said) = process::run(&mut h2load);
    let succeeded = format!("{requests} succeeded");
    assert!(said.contains(&succeeded), "h2load said {said}");
    Ok(())
}

fn streams_at_once(setup: &Setup) -> Outcome {
    const REQUESTS: u32 = 400;
    let server = nginx(setup)?;
    let tracer = setup.tracer_of(server.port).ring_bytes(AMPLE);
    let (observed, done) = setup.observe(tracer, 2 * REQUESTS as usize, || {
        h2load(
            &server,
            REQUESTS,
            &["--clients", "2", "--max-concurrent-streams", "10"],
            "/small.txt",
        )
    });
    done?;
    for role in [Role::Client, Role::Server] {
        assert_eq!(observed.side(role).count(), REQUESTS as usize, "records of the {role}");
        for http in observed.side(role) {
            assert_eq!((http.path(), http.answered().status), ("/small.txt".into(), 200));
            let is_whole = |body: &Body| body.complete && body.size == 1000;
            assert!(is_whole(&http.answered().body), "{http}");
            assert!(http.sent().headers.is_complete() && http.answered().headers.is_complete());
            assert!(header(&http.sent().headers, "user-agent").contains("h2load"), "{http:?}");
            http.check_times();
        }
    }
    Ok(())
}

/// Of most of what is sent only the start of each transfer is captured, and of much of it not where
/// frames begin. No exchange is missing all the same, and what is said to be complete is.
fn large_streams_at_once(setup: &Setup) -> Outcome {
    const REQUESTS: u32 = 60;
    for server in [nginx(setup)?, nghttpd(setup, &[])?] {
        let tracer = setup.tracer_of(server.port).ring_bytes(AMPLE);
        let (observed, done) = setup.observe(tracer, 2 * REQUESTS as usize, || {
            h2load(&server, REQUESTS, &["--max-concurrent-streams", "5"], "/page.html")
        });
        done?;
        for role in [Role::Client, Role::Server] {
            assert_eq!(observed.side(role).count(), REQUESTS as usize, "records of the {role}");
            for http in observed.side(role) {
                assert_eq!(http.path(), "/page.html");
                let Some(response) = &http.response else { continue };
                assert!(matches!(response.status, 0 | 200), "{http}");
                assert!(response.body.size <= 50_000, "{http}");
                assert!(!response.body.complete || response.body.size == 50_000, "{http}");
            }
        }
    }
    Ok(())
}

fn a_large_body(setup: &Setup) -> Outcome {
    const SIZE: usize = 5_000_000;
    for server in [nginx(setup)?, nghttpd(setup, &[])?] {
        fs::write(server.www().join("large"), noise(SIZE)).unwrap();
        let file = server.file("got");
        let tracer = setup.tracer_of(server.port);
        let (observed, results) = setup.observe(tracer, 4, || -> Result<_, Skip> {
            let large = curl(&server.url("/large"), &file, &[PRIOR])?;
            Ok([large, curl(&server.url("/small.txt"), &file, &[PRIOR])?])
        });
        let [large, _] = results?;
        assert_eq!((large.status, large.downloaded), (200, SIZE as u64), "what curl got");
        for role in [Role::Client, Role::Server] {
            let http = observed.one(role, "/large");
            assert_eq!(http.answered().body.size, SIZE as u64, "size in the {role}");
            assert!(http.answered().body.complete, "end in the {role}");
        }
        observed.pair("/small.txt").response(200, 1000);
    }
    Ok(())
}

fn an_upload(setup: &Setup) -> Outcome {
    const SIZE: usize = 1_000_000;
    let server = nghttpd(setup, &[])?;
    let (file, upload) = (server.file("got"), server.file("upload"));
    fs::write(&upload, noise(SIZE)).unwrap();
    let tracer = setup.tracer_of(server.port);
    let data = format!("@{}", upload.display());
    let (observed, got) = setup.observe(tracer, 2, || {
        curl(&server.url("/small.txt"), &file, &[PRIOR, "--data-binary", &data])
    });
    got?;
    for role in [Role::Client, Role::Server] {
        let http = observed.one(role, "/small.txt");
        assert_eq!(http.sent().method, "POST");
        assert_eq!(http.sent().body.size, SIZE as u64, "size in the {role}");
    }
    Ok(())
}

fn pushed_responses(setup: &Setup) -> Outcome {
    let server = nghttpd(setup, &["--push", "/page.html=/small.txt"])?;
    let mut nghttp = command("nghttp")?;
    nghttp.args(["--null-out", &server.url("/page.html")]);
    let tracer = setup.tracer_of(server.port);
    let (observed, _) = setup.observe(tracer, 4, || process::run(&mut nghttp));
    for role in [Role::Client, Role::Server] {
        let (page, pushed) = (observed.one(role, "/page.html"), observed.one(role, "/small.txt"));
        assert!(pushed.sent().pushed && !page.sent().pushed);
        assert_eq!((pushed.answered().status, pushed.answered().body.size), (200, 1000));
        assert!(pushed.answered().body.complete);
        assert_eq!(page.answered().body.size, 50_000);
    }
    Ok(())
}

/// A client that makes one request, waits to be told to go on, and makes two more.
const OLDER: &str = r#"
import socket, sys

def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

def literal(name, value):
    return b"\x40" + bytes([len(name)]) + name + bytes([len(value)]) + value

def answer(stream):
    while True:
        head = client.recv(9, socket.MSG_WAITALL)
        length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        client.recv(length, socket.MSG_WAITALL) if length else None
        if kind in (0, 1) and flags & 1 and head[5:] == stream.to_bytes(4, "big"):
            return

client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
old = literal(b":authority", b"old.test") + literal(b"x-old", b"secret of old")
client.sendall(frame(1, 5, 1, b"\x82\x84\x86" + old))
answer(1)
print("ready", flush=True)
sys.stdin.readline()
# x-old is entry 62, :authority is entry 63.
client.sendall(frame(1, 5, 3, b"\x82\x86\x04\x0a/small.txt\xbf\xbe" + literal(b"x-new", b"one")))
answer(3)
# Now x-new is entry 62, and the others are one further.
client.sendall(frame(1, 5, 5, b"\x82\x86\x04\x0c/small.txt?2\xc0\xbf\xbe"))
answer(5)
"#;

fn a_connection_older_than_the_tracer(setup: &Setup) -> Outcome {
    let server = nginx(setup)?;
    fs::write(server.www().join("index.html"), "index").unwrap();
    let mut client =
        process::Running::start(&mut crate::clients::python(OLDER, &[&server.port.to_string()])?);
    assert_eq!(client.line().as_deref(), Some("ready"));
    let tracer = setup.tracer_of(server.port);
    let (observed, _) = setup.observe(tracer, 4, || {
        client.say("go on");
        client.succeed()
    });
    for role in [Role::Client, Role::Server] {
        for path in ["/small.txt", "/small.txt?2"] {
            let http = observed.one(role, path);
            let headers = &http.sent().headers;
            assert_eq!(headers.get("x-old"), None, "it cannot be known");
            assert_eq!(headers.fields().filter(|field| field.value.is_none()).count(), 2);
            assert_eq!(header(headers, "x-new"), "one");
            assert_eq!(header(headers, ":scheme"), "http");
            assert_eq!((http.answered().status, http.answered().body.size), (200, 1000));
        }
    }
    Ok(())
}
