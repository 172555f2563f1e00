//! Bodies: large, chunked, compressed and uploaded.

use crate::clients::{curl, python};
use crate::expect::{HttpExt, header, starts_with};
use crate::process::{self, Running};
use crate::programs::command;
use crate::runner::{Outcome, Setup, tests};
use crate::servers::{nginx, node, noise, text};
use pixie::id::{Pid, Role};
use pixie::record::BodyDecoding;
use std::fs;
use std::time::{Duration, Instant};

tests! {
    core: a_download_by_sendfile, an_upload_that_waits_to_be_asked;
    once: a_body_ends_with_the_connection, chunks_and_trailers, chunks_that_are_sent, chunks_beyond_what_is_captured, nginx_gzip, node_gzip, node_deflate, node_brotli,
        node_zstd, a_download_is_not_changed;
}

/// 200 MB that nginx sends by sendfile are one record with the true size and the true duration.
fn a_download_by_sendfile(setup: &Setup) -> Outcome {
    const SIZE: u64 = 200 << 20;
    let server = nginx(setup)?;
    // Without blocks on disk, but sent all the same.
    let file = fs::File::create(server.www().join("large")).unwrap();
    file.set_len(SIZE).unwrap();
    let url = server.url("/large");
    let tracer = setup.tracer_of(server.port);
    // Slow enough for the duration to be more than a blink.
    let limit = format!("{}M", 400 / setup.slow.max(1));
    let (observed, curl) =
        setup.observe(tracer, 2, || curl(&url, "/dev/null".as_ref(), &["--limit-rate", &limit]));
    let curl = curl?;
    assert_eq!(curl.downloaded, SIZE, "what curl got");
    let log = server.log(setup, 1);
    let pair = observed.pair("/large");
    pair.between(curl.pid, log[0].pid)
        .client_port(curl.local_port)
        .request("GET", 0)
        .response(200, SIZE)
        .bytes(curl.sent, curl.head + SIZE);
    assert_eq!(log[0].sent, curl.head + SIZE);
    assert_eq!(observed.http().count(), 2, "records");

    let (latency, took) = (pair.client.latency(), curl.took);
    let tolerance = took / 10 + setup.patience(Duration::from_millis(20));
    let difference = latency.abs_diff(took);
    assert!(difference < tolerance, "a latency of {latency:?} where curl took {took:?}");
    assert_eq!(pair.server.answered().body.captured, 0, "captured of what sendfile sent");

    let stream = &observed.stats.stream;
    let wire = curl.sent + curl.head + SIZE;
    assert_eq!(stream.bytes_total, 2 * wire, "bytes on both sides");
    assert!(stream.bytes_in_gaps > 2 * SIZE * 9 / 10, "nearly all of it is not captured");
    Ok(())
}

fn an_upload_that_waits_to_be_asked(setup: &Setup) -> Outcome {
    const SIZE: usize = 3 << 20;
    let server = nginx(setup)?;
    let file = server.file("upload");
    fs::write(&file, noise(SIZE)).unwrap();
    let data = format!("@{}", file.display());
    let arguments = ["--data-binary", &data, "--header", "Expect: 100-continue"];
    // The inner server refuses to be posted to, but only after the outer has read all of it.
    let url = server.url("/proxy/small.txt");
    let tracer = setup.tracer_of(server.port);
    let (observed, curl) = setup.observe(tracer, 4, || curl(&url, &server.file("got"), &arguments));
    let curl = curl?;
    let pair = observed.pair("/proxy/small.txt");
    pair.request("POST", SIZE as u64).response(405, curl.downloaded);
    let log = server.log(setup, 2);
    let logged = log.iter().find(|logged| logged.path == "/proxy/small.txt").unwrap();
    assert_eq!(pair.client.traffic.request_bytes, logged.received);
    for side in [pair.client, pair.server] {
        assert_eq!(side.answered().interim, [100], "interim responses");
        starts_with(&side.sent().body, &noise(SIZE));
    }
    Ok(())
}

/// Asked by HTTP/1.0, nginx cannot send chunks, and what it compresses has no known length.
fn a_body_ends_with_the_connection(setup: &Setup) -> Outcome {
    let server = nginx(setup)?;
    let url = server.url("/gzip/page.html");
    let file = server.file("got");
    let arguments = ["--http1.0", "--compressed"];
    let tracer = setup.tracer_of(server.port).body_bytes(64 << 10).message_bytes(128 << 10);
    let (observed, curl) = setup.observe(tracer, 2, || curl(&url, &file, &arguments));
    let curl = curl?;
    assert_eq!(fs::read(&file).unwrap(), text(50_000), "what curl got");
    let pair = observed.pair("/gzip/page.html");
    pair.request("GET", 0)
        .response(200, curl.downloaded)
        .bytes(curl.sent, curl.head + curl.downloaded);
    for side in [pair.client, pair.server] {
        let response = side.answered();
        assert_eq!(response.headers.get("content-length"), None, "a length was told");
        assert_eq!(response.body.decoding, BodyDecoding::Decoded);
        assert_eq!(response.body.bytes, text(50_000), "the decoded body");
    }
    Ok(())
}

fn chunks_and_trailers(setup: &Setup) -> Outcome {
    let server = node(setup)?;
    fs::write(server.www().join("part.html"), text(12_000)).unwrap();
    let file = server.file("got");
    let url = server.url("/chunked/part.html");
    let tracer = setup.tracer_of(server.port);
    let (observed, curl) = setup.observe(tracer, 2, || curl(&url, &file, &[]));
    let curl = curl?;
    assert_eq!(fs::read(&file).unwrap(), text(12_000), "what curl got");
    let pair = observed.pair("/chunked/part.html");
    pair.between(curl.pid, server.pid()).request("GET", 0).response(200, 12_000);
    for side in [pair.client, pair.server] {
        let response = side.answered();
        assert_eq!(header(&response.headers, "transfer-encoding"), "chunked");
        assert_eq!(header(&response.trailers, "x-length"), "12000");
        starts_with(&response.body, &text(12_000));
        assert!(side.traffic.response_bytes > 12_000, "framing counts as bytes on the wire");
    }
    Ok(())
}

const CHUNKED_CLIENT: &str = r#"
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
chunks = (bytes([97 + number]) * (500 + number) for number in range(20))
connection.request("PUT", "/small.txt", body=chunks, encode_chunked=True,
                   headers={"Transfer-Encoding": "chunked"})
print(connection.getresponse().status)
"#;

fn chunks_that_are_sent(setup: &Setup) -> Outcome {
    let server = node(setup)?;
    let mut client = python(CHUNKED_CLIENT, &[&server.port.to_string()])?;
    let tracer = setup.tracer_of(server.port);
    let (observed, (pid, said)) = setup.observe(tracer, 2, || process::run(&mut client));
    assert_eq!(said, "200");
    let body: Vec<u8> = (0..20).flat_map(|n| vec![b'a' + n; 500 + usize::from(n)]).collect();
    let pair = observed.pair("/small.txt");
    pair.between(pid, server.pid()).request("PUT", body.len() as u64).response(200, 1000);
    starts_with(&pair.client.sent().body, &body);
    starts_with(&pair.server.sent().body, &body);
    Ok(())
}

/// Gets a page, and keeps the connection until it is told to go.
const KEEPING_CLIENT: &str = r#"
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
connection.request("GET", sys.argv[2])
print(len(connection.getresponse().read()), flush=True)
sys.stdin.readline()
"#;

/// More than is captured of a message: the framing of most chunks is not seen. The bytes on the wire
/// and the times are known all the same; and that the body has ended, before anything follows.
fn chunks_beyond_what_is_captured(setup: &Setup) -> Outcome {
    let server = node(setup)?;
    let arguments = [&server.port.to_string(), "/chunked/page.html"];
    let mut client = python(KEEPING_CLIENT, &arguments)?;
    let watch = setup.watch(setup.tracer_of(server.port));
    let began = Instant::now();
    let mut client = Running::start(&mut client);
    assert_eq!(client.line().as_deref(), Some("50000"), "what the client got");
    let took = began.elapsed();
    watch.wait(2);
    assert_eq!(watch.exchanges(), 2, "records while the connection is open");
    let pid = client.pid();
    client.say("go");
    client.succeed();
    let observed = watch.stop_after(2);
    for (role, pid) in [(Role::Client, pid), (Role::Server, server.pid())] {
        let http = observed.one(role, "/chunked/page.html");
        assert_eq!(http.traffic.process.pid, Pid(pid));
        assert_eq!(http.answered().status, 200);
        assert!(http.traffic.response_bytes > 50_000, "bytes on the wire at the {role}");
        assert!(http.latency() <= took, "latency at the {role}");
        let body = &http.answered().body;
        assert!(body.size == 50_000 || !body.complete, "size of the body at the {role}");
        starts_with(body, &text(50_000));
    }
    Ok(())
}

/// Checks that a compressed body is shown as what it decodes to.
fn compressed(
    setup: &Setup,
    server: &crate::servers::Server,
    path: &str,
    encoding: &str,
) -> Outcome {
    let whole = text(50_000);
    let file = server.file("got");
    let url = server.url(path);
    let accept = format!("Accept-Encoding: {encoding}");
    let tracer = setup.tracer_of(server.port).body_bytes(64 << 10).message_bytes(128 << 10);
    let (observed, curl) = setup.observe(tracer, 2, || curl(&url, &file, &["--header", &accept]));
    let curl = curl?;
    let pair = observed.pair(path);
    pair.request("GET", 0).response(200, curl.downloaded);
    assert!(curl.downloaded < 50_000, "the server did not compress");
    for side in [pair.client, pair.server] {
        let response = side.answered();
        assert_eq!(header(&response.headers, "content-encoding"), encoding);
        assert_eq!(response.body.decoding, BodyDecoding::Decoded);
        assert_eq!(response.body.bytes, whole, "the decoded body");
    }
    Ok(())
}

fn nginx_gzip(setup: &Setup) -> Outcome {
    compressed(setup, &nginx(setup)?, "/gzip/page.html", "gzip")
}

fn node_gzip(setup: &Setup) -> Outcome {
    compressed(setup, &node(setup)?, "/encoded/gzip/page.html", "gzip")
}

fn node_deflate(setup: &Setup) -> Outcome {
    compressed(setup, &node(setup)?, "/encoded/deflate/page.html", "deflate")
}

fn node_brotli(setup: &Setup) -> Outcome {
    compressed(setup, &node(setup)?, "/encoded/br/page.html", "br")
}

fn node_zstd(setup: &Setup) -> Outcome {
    let mut zstd = command("zstd")?;
    let server = node(setup)?;
    let page = server.www().join("page.html");
    let packed = server.www().join("page.html.zstd");
    process::run(zstd.arg("--quiet").arg(&page).arg("-o").arg(&packed));
    compressed(setup, &server, "/encoded/zstd/page.html", "zstd")
}

/// What programs send and receive is not changed by being watched.
fn a_download_is_not_changed(setup: &Setup) -> Outcome {
    const SIZE: usize = 32 << 20;
    let server = nginx(setup)?;
    let whole = noise(SIZE);
    fs::write(server.www().join("noise"), &whole).unwrap();
    let url = server.url("/noise");
    let tracer = setup.tracer_of(server.port).message_bytes(1 << 20);
    let files: Vec<_> = (0..4).map(|number| server.file(&format!("got{number}"))).collect();
    let watch = setup.watch(tracer);
    for file in &files {
        curl(&url, file, &[])?;
    }
    let observed = watch.stop_after(2 * files.len());
    for file in &files {
        assert!(fs::read(file).unwrap() == whole, "{} is not what was served", file.display());
    }
    assert_eq!(observed.side(Role::Client).count(), files.len());
    for http in observed.http() {
        assert_eq!((http.answered().status, http.answered().body.size), (200, SIZE as u64));
    }
    Ok(())
}
