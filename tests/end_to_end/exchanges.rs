//! Real servers and real clients, both sides held against what the programs themselves say.

use crate::clients::{curl, python as python_client};
use crate::expect::{HttpExt, header, starts_with};
use crate::process;
use crate::programs::command;
use crate::runner::{Outcome, Setup, Skip, tests};
use crate::servers::{Server, apache, nginx, node, python, text};
use pixie::Text;
use pixie::record::HttpVersion;
use std::fs;

tests! {
    core: nginx_and_curl;
    once: apache_and_curl, python_and_curl, node_and_curl,
        nginx_and_wget, apache_and_wget, python_and_wget, node_and_wget,
        nginx_and_python, apache_and_python, python_and_python, node_and_python,
        a_proxy_is_server_and_client;
}

/// The process that served this path, by the server's log where it has one.
fn served_by(setup: &Setup, server: &Server, path: &str) -> u32 {
    if !server.file("access.log").exists() {
        return server.pid();
    }
    let served = |logged: &&crate::servers::Logged| logged.path == path;
    process::wait_for("logged request", setup.patience(std::time::Duration::from_secs(5)), || {
        server.log_now().iter().find(served).map(|logged| logged.pid)
    })
}

/// GET, HEAD, POST and an error; sizes, addresses and headers as curl and the server know them.
fn with_curl(setup: &Setup, server: &Server, software: &str) -> Outcome {
    let file = server.file("got");
    let get = |path: &str, arguments: &[&str]| curl(&server.url(path), &file, arguments);
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
    pair.between(first.pid, served_by(setup, server, "/small.txt?key=value"))
        .client_port(first.local_port)
        .request("GET", 0)
        .response(200, 1000)
        .bytes(first.sent, first.head + first.downloaded);
    let (request, response) = (pair.client.sent(), pair.client.answered());
    assert_eq!(request.version, HttpVersion::Http11);
    assert_eq!(header(&request.headers, "host"), format!("127.0.0.1:{}", server.port));
    assert_eq!(header(&request.headers, "x-test"), "one");
    assert!(header(&request.headers, "user-agent").starts_with("curl/"));
    assert!(header(&response.headers, "server").contains(software), "{:?}", response.headers);
    assert_eq!(response.reason, "OK");
    starts_with(&response.body, &text(1000));
    assert_eq!(pair.client.traffic.process.comm, "curl");
    // A short-lived client may be gone before it can be looked up; the server is there.
    let process = &pair.server.traffic.process;
    let link = fs::read_link(format!("/proc/{}/exe", process.pid)).unwrap();
    assert_eq!(process.exe.as_ref().map(Text::to_string), link.to_str().map(str::to_owned));
    let (latency, took) = (pair.client.latency(), first.took);
    assert!(latency <= took, "a latency of {latency:?} where curl took {took:?}");

    let pair = observed.pair("/page.html");
    pair.between(head.pid, served_by(setup, server, "/page.html"))
        .request("HEAD", 0)
        .response(200, 0)
        .bytes(head.sent, head.head);

    let pair = observed.pair("/absent");
    pair.request("GET", 0)
        .response(404, absent.downloaded)
        .bytes(absent.sent, absent.head + absent.downloaded);
    assert!(pair.client.is_error() && pair.server.is_error());
    assert_eq!(observed.http().count(), 6, "records");
    Ok(())
}

fn nginx_and_curl(setup: &Setup) -> Outcome {
    with_curl(setup, &nginx(setup)?, "nginx")
}

fn apache_and_curl(setup: &Setup) -> Outcome {
    with_curl(setup, &apache(setup)?, "Apache")
}

fn python_and_curl(setup: &Setup) -> Outcome {
    with_curl(setup, &python(setup)?, "SimpleHTTP")
}

fn node_and_curl(setup: &Setup) -> Outcome {
    // Node does not name itself.
    with_curl(setup, &node(setup)?, "")
}

fn with_wget(setup: &Setup, server: &Server) -> Outcome {
    let file = server.file("got");
    let mut wget = command("wget")?;
    wget.args(["--quiet", "--no-proxy", "--output-document"]).arg(&file);
    wget.arg(server.url("/page.html"));
    let tracer = setup.tracer_of(server.port);
    let (observed, (pid, _)) = setup.observe(tracer, 2, || process::run(&mut wget));
    assert_eq!(fs::read(&file).unwrap(), text(50_000), "what wget got");
    let pair = observed.pair("/page.html");
    pair.between(pid, served_by(setup, server, "/page.html"))
        .request("GET", 0)
        .response(200, 50_000);
    assert!(header(&pair.client.sent().headers, "user-agent").starts_with("Wget/"));
    starts_with(&pair.client.answered().body, &text(50_000));
    assert_eq!(observed.http().count(), 2, "records");
    Ok(())
}

fn nginx_and_wget(setup: &Setup) -> Outcome {
    with_wget(setup, &nginx(setup)?)
}

fn apache_and_wget(setup: &Setup) -> Outcome {
    with_wget(setup, &apache(setup)?)
}

fn python_and_wget(setup: &Setup) -> Outcome {
    with_wget(setup, &python(setup)?)
}

fn node_and_wget(setup: &Setup) -> Outcome {
    with_wget(setup, &node(setup)?)
}

/// Several requests over one connection; prints its port and each body's length.
const PYTHON_CLIENT: &str = r#"
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
connection.connect()
print("port", connection.sock.getsockname()[1])
for number in range(3):
    connection.request("GET", f"/page.html?{number}", headers={"X-Number": str(number)})
    response = connection.getresponse()
    print("length", len(response.read()))
connection.close()
"#;

fn with_python(setup: &Setup, server: &Server) -> Outcome {
    let mut client = python_client(PYTHON_CLIENT, &[&server.port.to_string()])?;
    let tracer = setup.tracer_of(server.port);
    let (observed, (pid, said)) = setup.observe(tracer, 6, || process::run(&mut client));
    let facts: crate::programs::Facts = said.lines().map(str::to_owned).collect();
    assert_eq!(facts.all::<u64>("length"), [50_000; 3], "what the client got");
    for number in 0..3 {
        let path = format!("/page.html?{number}");
        let pair = observed.pair(&path);
        pair.between(pid, served_by(setup, server, &path))
            .client_port(facts.one("port"))
            .request("GET", 0)
            .response(200, 50_000);
        assert_eq!(header(&pair.server.sent().headers, "x-number"), number.to_string());
    }
    assert_eq!(observed.http().count(), 6, "records");
    Ok(())
}

fn nginx_and_python(setup: &Setup) -> Outcome {
    with_python(setup, &nginx(setup)?)
}

fn apache_and_python(setup: &Setup) -> Outcome {
    with_python(setup, &apache(setup)?)
}

fn python_and_python(setup: &Setup) -> Outcome {
    with_python(setup, &python(setup)?)
}

fn node_and_python(setup: &Setup) -> Outcome {
    with_python(setup, &node(setup)?)
}

/// A request that a proxy passes on is four records: two exchanges, both sides each.
fn a_proxy_is_server_and_client(setup: &Setup) -> Outcome {
    let server = nginx(setup)?;
    let file = server.file("got");
    let tracer = setup.tracer_of(server.port);
    let url = server.url("/proxy/small.txt");
    let (observed, curl) = setup.observe(tracer, 4, || curl(&url, &file, &[]));
    let curl = curl?;
    let front = observed.pair("/proxy/small.txt");
    let back = observed.pair("/small.txt");
    let log = server.log(setup, 2);
    let pid_of = |path: &str| log.iter().find(|logged| logged.path == path).unwrap().pid;
    front.between(curl.pid, pid_of("/proxy/small.txt")).response(200, 1000);
    back.between(pid_of("/proxy/small.txt"), pid_of("/small.txt")).response(200, 1000);
    // nginx asks by HTTP/1.0 unless it is told otherwise.
    assert_eq!(back.client.sent().version, HttpVersion::Http10);
    assert!(back.client.latency() <= front.server.latency(), "the inner exchange is the shorter");
    Ok(())
}
