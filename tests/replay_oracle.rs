//! Packet captures, judged by another program: what tshark makes of them.
#![allow(clippy::unwrap_used, clippy::panic)] // Tests assert by panicking.

use libtest_mimic::{Arguments, Trial};
use pixie::record::Http;
use pixie::sinks::Memory;
use pixie::{Record, Replay};
use pixie_capture_file::CaptureFile;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

const CAPTURES: [&str; 5] =
    ["ethernet.pcapng", "nanoseconds.pcap", "cooked1.pcapng", "cooked2.pcapng", "short.pcapng"];

fn main() -> ExitCode {
    let installed = Command::new("tshark").arg("--version").output().is_ok();
    let reason = if installed { "" } else { ": skipped, tshark is not installed" };
    let trials = CAPTURES.map(|name| {
        let trial = Trial::test(format!("{name}{reason}"), move || {
            assert_eq!(ours(name), tsharks(name));
            Ok(())
        });
        trial.with_ignored_flag(!installed)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/replay").join(name)
}

/// What both say of an exchange.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Exchange {
    client_port: u16,
    method: String,
    uri: String,
    status: u16,
    content_length: Option<u64>,
    /// From the request's packet to the one of the response by which tshark times it: the last, or
    /// the first where packets were not captured in full.
    nanoseconds: u128,
}

fn ours(name: &str) -> Vec<Exchange> {
    let mut capture = CaptureFile::open(&path(name)).unwrap();
    let (sink, records) = Memory::new(1000);
    Replay::new().sink(sink).run(&mut capture).unwrap();
    let whole = name != "short.pcapng";
    let mut exchanges = Vec::new();
    for record in records.take() {
        match record {
            Record::Http(http) => exchanges.push(exchange(&http, whole)),
            other => panic!("{other}"),
        }
    }
    exchanges.sort();
    exchanges
}

fn exchange(http: &Http, whole: bool) -> Exchange {
    let (request, response) = (http.request.as_ref().unwrap(), http.response.as_ref().unwrap());
    let length = response.headers.get("content-length");
    let time = if whole { http.traffic.latency } else { http.traffic.time_to_first_byte };
    Exchange {
        client_port: http.traffic.connection.local.as_ref().unwrap().port().unwrap(),
        method: request.method.to_string(),
        uri: request.path.to_string(),
        status: response.status,
        content_length: length.map(|text| str::from_utf8(text).unwrap().parse().unwrap()),
        nanoseconds: time.unwrap().as_nanos(),
    }
}

/// The values of these fields, a row for each packet that passes the filter.
fn fields(name: &str, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(path(name)).args(["-Y", filter, "-T", "fields"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows = String::from_utf8(output.stdout).unwrap();
    rows.lines().map(|row| row.split('\t').map(str::to_owned).collect()).collect()
}

fn tsharks(name: &str) -> Vec<Exchange> {
    let requests =
        fields(name, "http.request", &["frame.number", "http.request.method", "http.request.uri"]);
    let responses = fields(
        name,
        "http.response",
        &[
            "http.request_in",
            "tcp.dstport",
            "http.response.code",
            "http.content_length_header",
            "http.time",
        ],
    );
    assert_eq!(requests.len(), responses.len());
    let mut exchanges: Vec<_> = responses
        .iter()
        .map(|response| {
            let request = requests.iter().find(|request| request[0] == response[0]).unwrap();
            let (seconds, nanoseconds) = response[4].split_once('.').unwrap();
            assert_eq!((seconds, nanoseconds.len()), ("0", 9));
            Exchange {
                client_port: response[1].parse().unwrap(),
                method: request[1].clone(),
                uri: request[2].clone(),
                status: response[2].parse().unwrap(),
                content_length: response[3].parse().ok(),
                nanoseconds: nanoseconds.parse().unwrap(),
            }
        })
        .collect();
    exchanges.sort();
    exchanges
}
