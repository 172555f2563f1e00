//! TLS sessions of which one object is written, and another one read.

use crate::wire::{Outcome, Wire, answer, get};
use pixie::id::Direction::{Received, Sent};
use pixie::record::{Cause, Http, Record};

/// Method and path of the request, or nothing, and whether there is a response; and the connection.
fn lines(outcome: &Outcome) -> Vec<String> {
    let line = |http: &Http| {
        let request =
            http.request.as_ref().map_or("?".to_owned(), |request| request.path.to_string());
        let response = if http.response.is_some() { "answered" } else { "not answered" };
        format!("{request} {response} on {}", http.traffic.connection.id.0)
    };
    outcome.http().map(line).collect()
}

fn lost(outcome: &Outcome, wanted: Cause) -> (u64, u64) {
    let losses = outcome.records.iter().filter_map(|record| match record {
        Record::Lost(lost) if lost.cause == wanted => Some((lost.count, lost.bytes)),
        _ => None,
    });
    losses.fold((0, 0), |(count, bytes), (more, others)| (count + more, bytes + others))
}

/// Tells that the connection of what was sent is known only when that is on its way.
#[test]
fn what_is_sent_waits_for_its_connection() {
    let mut wire = Wire::new();
    wire.open(1, 10);
    wire.half(2, Sent, None);
    wire.send(2, Sent, get("/a").as_bytes());
    wire.half(2, Sent, Some(1));
    wire.half(3, Received, Some(1));
    wire.send(3, Received, answer("/a").as_bytes());
    wire.send(2, Sent, get("/b").as_bytes());
    wire.send(3, Received, answer("/b").as_bytes());
    wire.close(1);
    let outcome = wire.play();
    assert_eq!(lines(&outcome), ["/a answered on 1", "/b answered on 1"]);
    let http = outcome.http().next().expect("a record");
    let connection = &http.traffic.connection;
    assert_eq!(connection.encrypted.as_ref().map(ToString::to_string).as_deref(), Some("rustls"));
    assert!(connection.local.is_some() && connection.remote.is_some());
    let tls = &outcome.stats.tls;
    assert_eq!((tls.sessions, tls.sessions_on_connections, tls.sessions_joined), (1, 1, 0));
}

/// New keys are another object; nothing is missing between the two.
#[test]
fn a_half_goes_on_in_another_object() {
    let mut wire = Wire::new();
    wire.open(1, 10);
    wire.half(2, Received, Some(1));
    wire.half(3, Sent, Some(1));
    wire.send(2, Received, get("/a").as_bytes());
    let answer = answer("/a");
    let (start, rest) = answer.as_bytes().split_at(20);
    wire.send(3, Sent, start);
    wire.half(4, Sent, None);
    wire.send(4, Sent, rest);
    wire.half(4, Sent, Some(1));
    wire.close(3);
    wire.send(2, Received, get("/b").as_bytes());
    wire.send(4, Sent, crate::wire::answer("/b").as_bytes());
    wire.close(1);
    let outcome = wire.play();
    assert_eq!(lines(&outcome), ["/a answered on 1", "/b answered on 1"]);
    assert_eq!(outcome.stats.tls.sessions, 1);
}

/// A call was not seen, or not understood: what comes then belongs to nothing before it.
#[test]
fn after_something_is_missing_a_session_begins_anew() {
    let mut wire = Wire::new();
    wire.open(1, 10);
    wire.half(2, Received, Some(1));
    wire.half(3, Sent, Some(1));
    wire.send(2, Received, get("/a").as_bytes());
    // Its answer, and the next question, are not told of.
    wire.half_by(4, Received, Some(1), |secure| secure.from_start = false);
    wire.send(4, Received, get("/c").as_bytes());
    wire.send(3, Sent, answer("/c").as_bytes());
    wire.close(1);
    let outcome = wire.play();
    assert_eq!(lines(&outcome), ["/a not answered on 1", "/c answered on 1"]);
    assert_eq!((outcome.stats.tls.sessions, outcome.stats.tls.sessions_joined), (2, 1));
    assert_eq!(lost(&outcome, Cause::BeforeTracing), (1, 0));
}

/// A question whose connection becomes known after its answer was told of must not be paired with the
/// next one.
#[test]
fn what_comes_too_late_is_lost_and_told_of() {
    let mut wire = Wire::new();
    wire.open(1, 10);
    wire.half(3, Sent, Some(1));
    wire.half(2, Received, None);
    wire.send(2, Received, get("/a").as_bytes());
    wire.send(3, Sent, answer("/a").as_bytes());
    wire.half(2, Received, Some(1));
    wire.send(2, Received, get("/b").as_bytes());
    wire.send(3, Sent, answer("/b").as_bytes());
    wire.close(1);
    let late = get("/a").len() as u64;
    wire.bytes -= late;
    let outcome = wire.play();
    assert_eq!(lines(&outcome), ["? answered on 1", "/b answered on 1"]);
    assert_eq!(lost(&outcome, Cause::Unobserved), (1, late));
}

/// It is not put on another one, and not where only some ports are asked for.
#[test]
fn what_never_has_a_connection_is_on_an_unknown_one_unless_that_is_filtered() {
    for filtered in [false, true] {
        let mut wire = Wire::new();
        wire.open(1, 10);
        wire.half_by(2, Sent, None, |secure| secure.filtered = filtered);
        wire.send(2, Sent, get("/a").as_bytes());
        wire.wait(2_000_000_000);
        wire.open(5, 10);
        wire.close(2);
        if filtered {
            wire.bytes -= get("/a").len() as u64;
        }
        let outcome = wire.play();
        let expected: &[&str] = if filtered { &[] } else { &["/a not answered on 2"] };
        assert_eq!(lines(&outcome), expected);
        for http in outcome.http() {
            let connection = &http.traffic.connection;
            assert!(connection.local.is_none() && connection.remote.is_none());
        }
    }
}

/// It became known after it had been given up.
#[test]
fn a_connection_that_becomes_known_late_is_known_from_then_on() {
    let mut wire = Wire::new();
    wire.open(1, 10);
    wire.half(2, Sent, None);
    wire.send(2, Sent, get("/a").as_bytes());
    wire.wait(2_000_000_000);
    wire.open(5, 10);
    wire.half(2, Sent, Some(1));
    wire.half(3, Received, Some(1));
    wire.send(2, Sent, get("/b").as_bytes());
    wire.send(3, Received, answer("/b").as_bytes());
    wire.close(1);
    let outcome = wire.play();
    assert_eq!(lines(&outcome), ["/a not answered on 2", "/b answered on 1"]);
}

/// The same where only some ports are asked for: what it said before is lost, as is known now.
#[test]
fn what_was_given_up_of_a_connection_that_is_asked_for_is_told_of() {
    let mut wire = Wire::new();
    wire.open(1, 10);
    wire.half_by(2, Sent, None, |secure| secure.filtered = true);
    wire.send(2, Sent, get("/a").as_bytes());
    wire.wait(2_000_000_000);
    wire.open(5, 10);
    wire.half_by(2, Sent, Some(1), |secure| secure.filtered = true);
    wire.half(3, Received, Some(1));
    wire.send(2, Sent, get("/b").as_bytes());
    wire.send(3, Received, answer("/b").as_bytes());
    wire.close(1);
    let given_up = get("/a").len() as u64;
    wire.bytes -= given_up;
    let outcome = wire.play();
    assert_eq!(lines(&outcome), ["/b answered on 1"]);
    assert_eq!(lost(&outcome, Cause::UnknownConnection), (1, given_up));
    assert_eq!((outcome.stats.tls.sessions, outcome.stats.tls.sessions_joined), (1, 1));
}

/// Bytes that wait are bounded; what does not fit is a gap, and told of.
#[test]
fn what_waits_is_bounded() {
    let mut wire = Wire::new();
    wire.open(1, 10);
    wire.half(2, Sent, None);
    let body = vec![b'x'; 300 << 10];
    let head = format!("POST /a HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
    wire.send(2, Sent, head.as_bytes());
    body.chunks(16 << 10).for_each(|piece| wire.send(2, Sent, piece));
    wire.half(2, Sent, Some(1));
    wire.send(2, Sent, get("/b").as_bytes());
    wire.half(3, Received, Some(1));
    wire.send(3, Received, answer("/a").as_bytes());
    wire.send(3, Received, answer("/b").as_bytes());
    wire.close(1);
    let outcome = wire.play();
    assert_eq!(lines(&outcome), ["/a answered on 1", "/b answered on 1"]);
    let (count, bytes) = lost(&outcome, Cause::MemoryLimit);
    assert!(count > 0 && bytes < 100 << 10, "{count} {bytes}");
    let request = outcome.http().next().and_then(|http| http.request.as_ref()).expect("a request");
    assert_eq!(request.body.size, 300 << 10);
}
