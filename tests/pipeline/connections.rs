//! Whose bytes they are, and when a connection begins and ends.

use crate::wire::{Wire, answer, get, path};
use pixie::id::{Direction, Pid, Role, Transport};
use pixie::record::Cause;
use pixie::record::Stage;

#[test]
fn exchanges_on_one_connection_are_records_in_order() {
    let mut wire = Wire::new();
    wire.open(1, 10);
    for path in ["/a", "/b", "/c"] {
        wire.exchange(1, path);
    }
    wire.close(1);
    let outcome = wire.play();
    assert_eq!(outcome.paths(), ["/a", "/b", "/c"]);
    for http in outcome.http() {
        let traffic = &http.traffic;
        assert_eq!(traffic.role, Some(Role::Server));
        assert_eq!(traffic.process.pid, Pid(10));
        assert_eq!(traffic.process.comm, "server");
        assert_eq!(traffic.connection.local.as_ref().unwrap().to_string(), "127.0.0.1:80");
        assert_eq!(traffic.latency.unwrap().as_nanos(), 1_000);
        assert_eq!(traffic.time.0, traffic.monotonic.0, "recorded times are wall-clock times");
        assert_eq!(http.response.as_ref().unwrap().body.bytes, path(http).as_bytes());
    }
    let connections = &outcome.stats.connections;
    assert_eq!((connections.opened, connections.closed, connections.evicted), (1, 1, 0));
    assert_eq!(outcome.stats.parser.detected, 1);
    assert_eq!(outcome.stats.lost, []);
}

#[test]
fn interleaved_connections_are_kept_apart() {
    let mut wire = Wire::new();
    for id in 0..50 {
        wire.open(id, 10);
    }
    for round in 0..4 {
        for id in 0..50 {
            let path = format!("/{id}/{round}");
            wire.send(id, Direction::Received, get(&path).as_bytes());
        }
        for id in (0..50).rev() {
            let path = format!("/{id}/{round}");
            wire.send(id, Direction::Sent, answer(&path).as_bytes());
        }
    }
    let outcome = wire.play();
    assert_eq!(outcome.http().count(), 200);
    for http in outcome.http() {
        let path = path(http);
        assert_eq!(http.response.as_ref().unwrap().body.bytes, path.as_bytes());
        assert!(path.starts_with(&format!("/{}/", http.traffic.connection.id.0)), "{path}");
    }
}

#[test]
fn any_cut_into_transfers_makes_the_same_records() {
    let requests: String = ["/one", "/two", "/three"].iter().map(|path| get(path)).collect();
    let answers: String = ["/one", "/two", "/three"].iter().map(|path| answer(path)).collect();
    for size in 1..requests.len() {
        let mut wire = Wire::new();
        wire.open(1, 10);
        for piece in requests.as_bytes().chunks(size) {
            wire.send(1, Direction::Received, piece);
        }
        for piece in answers.as_bytes().chunks(size) {
            wire.send(1, Direction::Sent, piece);
        }
        wire.close(1);
        assert_eq!(wire.play().paths(), ["/one", "/two", "/three"], "in pieces of {size}");
    }
}

#[test]
fn transfers_that_come_late_are_put_in_order() {
    let mut wire = Wire::new();
    wire.open(1, 10);
    wire.exchange(1, "/first");
    let request = get("/second");
    let (head, rest) = request.split_at(9);
    wire.send(1, Direction::Received, head.as_bytes());
    wire.send(1, Direction::Received, rest.as_bytes());
    wire.swap_last();
    wire.send(1, Direction::Sent, answer("/second").as_bytes());
    let outcome = wire.play();
    assert_eq!(outcome.paths(), ["/first", "/second"]);
    assert_eq!(outcome.stats.stream.out_of_order, 1);
    assert_eq!(outcome.stats.stream.gaps, 0);
}

#[test]
fn a_connection_that_was_never_announced_is_parsed_all_the_same() {
    let mut wire = Wire::new();
    wire.exchange(7, "/unannounced");
    wire.close(7);
    let outcome = wire.play();
    assert_eq!(outcome.paths(), ["/unannounced"]);
    let http = outcome.http().next().unwrap();
    assert_eq!(http.traffic.process.pid, Pid(0));
    assert_eq!(http.traffic.connection.id.0, 7);
    assert_eq!(http.traffic.connection.remote, None);
}

#[test]
fn what_is_learned_late_is_in_the_records_that_follow() {
    let mut wire = Wire::new();
    wire.exchange(7, "/before");
    wire.open(7, 10);
    wire.exchange(7, "/after");
    let outcome = wire.play();
    assert_eq!(outcome.paths(), ["/before", "/after"]);
    let after = &outcome.http().nth(1).unwrap().traffic;
    assert_eq!(after.process.pid, Pid(10));
    assert_eq!(after.connection.remote.as_ref().unwrap().to_string(), "127.0.0.1:40000");
    assert_eq!(outcome.stats.connections.opened, 1);
}

#[test]
fn a_connection_that_passes_to_another_process_is_that_processs() {
    let mut wire = Wire::new();
    wire.open(1, 10);
    wire.exchange(1, "/parent");
    wire.open(1, 11);
    wire.exchange(1, "/child");
    let outcome = wire.play();
    let pids: Vec<_> = outcome.http().map(|http| http.traffic.process.pid).collect();
    assert_eq!(pids, [Pid(10), Pid(11)]);
}

#[test]
fn a_connection_joined_in_mid_message_is_parsed_from_the_next_one_on() {
    let mut wire = Wire::new();
    wire.open(1, 10);
    wire.send(1, Direction::Sent, b"the rest of a body that began before we came");
    wire.send(1, Direction::Sent, b"and its end");
    wire.exchange(1, "/next");
    wire.exchange(1, "/and-next");
    let outcome = wire.play();
    assert_eq!(outcome.paths(), ["/next", "/and-next"]);
    assert_eq!(outcome.stats.parser.bytes_skipped, 55);
}

#[test]
fn a_close_in_mid_message_makes_a_record_of_what_there_is() {
    let mut wire = Wire::new();
    wire.open(1, 10);
    wire.send(1, Direction::Received, get("/cut").as_bytes());
    wire.send(1, Direction::Sent, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this");
    wire.close(1);
    let outcome = wire.play();
    assert_eq!(outcome.paths(), ["/cut"]);
    let body = &outcome.http().next().unwrap().response.as_ref().unwrap().body;
    assert_eq!((body.size, body.complete), (9, false));
}

#[test]
fn a_close_tells_of_bytes_that_no_event_told_of() {
    let mut wire = Wire::new();
    wire.open(1, 10);
    wire.send(1, Direction::Received, get("/cut").as_bytes());
    wire.send(1, Direction::Sent, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    wire.lose(1, Direction::Sent, 1000);
    wire.close(1);
    let outcome = wire.play();
    let http = outcome.http().next().unwrap();
    let body = &http.response.as_ref().unwrap().body;
    assert_eq!((body.size, body.captured), (1000, 0));
    assert_eq!(outcome.stats.stream.bytes_in_gaps, 1000);
    let lost: Vec<_> = outcome.lost().collect();
    assert_eq!(lost, [(Stage::Stream, Cause::Unobserved, 1, 1000)]);
}

#[test]
fn an_id_can_be_used_again_after_a_close() {
    let mut wire = Wire::new();
    for pid in 10..13 {
        wire.open(1, pid);
        wire.exchange(1, &format!("/{pid}"));
        wire.send(1, Direction::Received, b"GET /unfinis");
        wire.close(1);
    }
    let outcome = wire.play();
    assert_eq!(outcome.paths(), ["/10", "/11", "/12"]);
    assert_eq!(outcome.stats.connections.opened, 3);
    assert_eq!(outcome.stats.connections.closed, 3);
}

#[test]
fn a_unix_connection_ends_with_the_last_process_that_uses_it() {
    let mut wire = Wire::new();
    wire.open_over(1, 10, Transport::UnixStream);
    wire.open_over(1, 11, Transport::UnixStream);
    wire.open(2, 10);
    wire.send(1, Direction::Received, get("/unfinished").as_bytes());
    wire.exit(10);
    wire.exchange(2, "/tcp");
    wire.exit(11);
    wire.exchange(2, "/last");
    let outcome = wire.play();
    // The request on the Unix connection has no answer: its record comes when its end is known.
    assert_eq!(outcome.paths(), ["/tcp", "/unfinished", "/last"]);
    assert_eq!(outcome.stats.connections.closed, 1);
}

/// One thread closes the connection while another is on its way back from writing.
#[test]
fn what_a_session_wrote_last_is_told_of_after_its_connection_has_ended() {
    let mut wire = Wire::new();
    wire.open(1, 10);
    wire.secure(2, 1, 10);
    wire.send(2, Direction::Received, get("/a").as_bytes());
    wire.close(1);
    wire.wait(10_000_000);
    wire.send(2, Direction::Sent, answer("/a").as_bytes());
    // Nothing tells of the session's own end.
    wire.wait(200_000_000);
    wire.open(3, 10);
    let outcome = wire.play();
    assert_eq!(outcome.stats.connections.closed, 2);
    let records: Vec<_> = outcome.http().collect();
    let [http] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!(http.response.as_ref().map(|response| response.status), Some(200));
    assert_eq!(http.traffic.connection.id.0, 1);
}

/// That the kernel encrypts is seen when something is sent. What was known of the connection stays so.
#[test]
fn more_may_be_known_of_a_session_later() {
    let mut wire = Wire::new();
    wire.open(1, 10);
    wire.secure(2, 1, 10);
    wire.exchange(2, "/before");
    wire.send(2, Direction::Received, get("/after").as_bytes());
    wire.secure_by(2, 1, 10, true);
    wire.send(2, Direction::Sent, answer("/after").as_bytes());
    wire.close(1);
    let outcome = wire.play();
    let records: Vec<_> = outcome.http().collect();
    let [before, after] = records.as_slice() else { panic!("{records:?}") };
    let [before, after] = [before, after].map(|http| &*http.traffic.connection);
    assert!(!before.encrypted_by_kernel && after.encrypted_by_kernel);
    assert!(before.local.is_some() && before.remote.is_some() && before.encrypted.is_some());
    assert_eq!((&before.local, &before.remote), (&after.local, &after.remote));
    assert_eq!(before.encrypted, after.encrypted);
    assert_eq!(outcome.stats.tls.sessions, 1);
    assert_eq!(outcome.stats.tls.sessions_on_connections, 1);
}

/// A ClientHello (RFC 8446, section 4.1.2) in a record: a random value of zeros, no session id, one
/// cipher suite, no compression.
fn hello() -> Vec<u8> {
    let random = [0; 32];
    [&[22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3][..], &random, &[0, 0, 2, 0x13, 0x01, 1, 0]].concat()
}

/// Where the kernel encrypts, a socket carries plaintext behind the handshake, which nobody is to take
/// for a second connection's.
#[test]
fn what_a_session_says_is_not_told_of_again_by_its_connection() {
    let mut wire = Wire::new();
    wire.open(1, 10);
    wire.send(1, Direction::Received, &hello());
    wire.secure_by(2, 1, 10, true);
    for path in ["/a", "/b", "/c"] {
        wire.send(1, Direction::Received, get(path).as_bytes());
        wire.send(2, Direction::Received, get(path).as_bytes());
        wire.send(1, Direction::Sent, answer(path).as_bytes());
        wire.send(2, Direction::Sent, answer(path).as_bytes());
    }
    wire.close(1);
    let outcome = wire.play();
    assert_eq!(outcome.paths(), ["/a", "/b", "/c"]);
}

/// What a call had read that was under way when its function was probed is a gap, which may be told of
/// before the session is.
#[test]
fn a_session_counts_also_where_its_first_bytes_came_before_it() {
    let mut wire = Wire::new();
    wire.open(1, 10);
    wire.transfer(2, Direction::Received, b"", 500);
    wire.secure(2, 1, 10);
    wire.secure(2, 1, 10);
    wire.exchange(2, "/a");
    wire.close(1);
    let outcome = wire.play();
    assert_eq!(outcome.paths(), ["/a"]);
    let tls = &outcome.stats.tls;
    assert_eq!((tls.sessions, tls.sessions_on_connections), (1, 1), "{tls}");
}
