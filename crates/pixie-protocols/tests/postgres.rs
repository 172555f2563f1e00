//! PostgreSQL as it is spoken: startup, queries, pipelines, copies, and what is left when bytes are
//! lost.

mod support;

use pixie_core::id::Role;
use pixie_core::record::{Cause, PostgresCopyDirection};
use pixie_protocols::parser::{Limits, Next, Protocol, Verdict};
use pixie_protocols::postgres::Postgres;
use std::time::Duration;
use support::postgres::{
    answer, bind, close, columns, describe_portal, error, execute, extended, extended_result,
    message, notice, packet, parse, query, ready, result, row, ssl_request, startup, sync, tag,
    welcome,
};
use support::{REQUESTS, RESPONSES};

type Talk = support::Talk<pixie_core::record::Postgres>;

#[track_caller]
fn assert_summary(talk: &Talk, expected: &[&str]) {
    assert_eq!(talk.summary(), expected);
}

/// A connection whose startup is over, and not among the records.
fn connected() -> Talk {
    let mut talk = Talk::new();
    talk.client(startup()).server(welcome());
    talk.records.clear();
    talk
}

#[test]
fn a_startup_says_who_and_what_but_no_secret() {
    let mut talk = Talk::new();
    talk.client(startup());
    talk.server(message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"));
    talk.client(message(b'p', b"SCRAM-SHA-256\0secret-of-client"));
    talk.server(message(b'R', b"\0\0\0\x0bsecret-of-server"));
    talk.client(message(b'p', b"secret-proof"));
    talk.server(message(b'R', b"\0\0\0\x0csecret-final"));
    talk.server(message(b'R', [0, 0, 0, 0])).server(message(b'S', "server_version\x0015.1\0"));
    talk.server(message(b'K', b"\0\0\x01\x02secret-key")).server(ready(b'I'));
    assert_summary(&talk, &["startup - | - - idle"]);
    let record = &talk.records[0];
    let (request, response) = (record.request.as_ref().unwrap(), record.response.as_ref().unwrap());
    assert_eq!(request.user.as_ref().unwrap(), "ann");
    assert_eq!(request.database.as_ref().unwrap(), "shop");
    assert_eq!(request.application_name.as_ref().unwrap(), "psql");
    assert_eq!(response.authentication, Some("sasl"));
    assert_eq!(response.process, Some(0x102));
    assert_eq!(response.parameters, [("server_version".into(), "15.1".into())]);
    assert!(!format!("{record:?}").contains("secret"), "{record:?}");
    assert_eq!(record.traffic.role, Some(Role::Client));
    assert_eq!(record.traffic.latency, Some(Duration::from_millis(9)));
}

#[test]
fn a_refused_startup_is_an_error() {
    let mut talk = Talk::new();
    talk.client(startup()).server(message(b'R', [0, 0, 0, 5, 1, 2, 3, 4]));
    talk.client(message(b'p', b"md5secret\0"));
    talk.server(error("FATAL", "28P01", "password authentication failed for user \"ann\""));
    assert_summary(&talk, &["startup - | 28P01 - -"]);
    assert!(talk.records[0].is_error());
    assert_eq!(talk.records[0].response.as_ref().unwrap().authentication, Some("md5"));
}

#[test]
fn encryption_is_asked_for_and_refused() {
    let mut talk = Talk::new();
    talk.client(packet(0x04d2_1630, "")).server("N");
    talk.client(ssl_request()).server("N");
    talk.client(startup()).server(welcome());
    talk.client(query("SELECT 1")).server(answer(&["1"]));
    assert_summary(&talk, &["startup - | - - idle", "query SELECT 1 | SELECT 1 1 idle"]);
    assert!(talk.skipped.is_empty());
}

#[test]
fn encryption_is_accepted_and_another_protocol_follows() {
    for (answer, next) in [("S", Next::Protocol("tls")), ("G", Next::Opaque)] {
        let mut talk = Talk::new();
        talk.client([&ssl_request()[..], b"\x16\x03\x01"].concat());
        talk.server([answer, "rest"].concat());
        let switch = talk.switch.as_ref().unwrap();
        assert_eq!(switch.next, next);
        assert_eq!(switch.unread[REQUESTS.index()], b"\x16\x03\x01");
        assert_eq!(switch.unread[RESPONSES.index()], b"rest");
    }
}

#[test]
fn a_client_that_does_not_wait_for_the_answer_is_held_back() {
    let mut talk = Talk::new();
    talk.client([ssl_request(), startup(), query("SELECT 1")].concat());
    talk.server([&b"N"[..], &welcome(), &answer(&["1"])].concat());
    assert_summary(&talk, &["startup - | - - idle", "query SELECT 1 | SELECT 1 1 idle"]);
}

#[test]
fn an_answer_about_encryption_that_is_lost_leaves_what_follows_to_detection() {
    let mut talk = Talk::new();
    talk.client(ssl_request()).gap(REQUESTS, 256).client([b"Q\0\0", &[b'x'; 29][..]].concat());
    talk.client(b"Z\0\0\0\x05").gap(RESPONSES, 1);
    assert_eq!(talk.switch.as_ref().unwrap().next, Next::Detect);
    assert_eq!(talk.bytes_skipped(), 32 + 5);
}

#[test]
fn a_request_to_cancel_is_not_answered_and_its_key_not_kept() {
    let mut talk = Talk::new();
    talk.client([&packet(0x04d2_162e, "")[..4], &[4, 210, 22, 46], b"\0\0\x12\x34KEYS"].concat());
    assert_summary(&talk, &[]);
    let mut talk = Talk::new();
    talk.client(packet(0x04d2_162e, "\0\0\x12\x34KEYS")).finish();
    assert_summary(&talk, &["cancel - | -"]);
    assert_eq!(talk.records[0].request.as_ref().unwrap().process, Some(0x1234));
    assert!(!format!("{:?}", talk.records[0]).contains("KEYS"));
}

#[test]
fn a_query_has_columns_rows_and_times() {
    let mut talk = connected();
    let start = talk.now;
    talk.client(query("SELECT a, b FROM t"));
    talk.server([columns(&["a", "b"]), row(&["1", "x"])].concat());
    talk.server([row(&["2", "yy"]), tag("SELECT 2")].concat()).server(ready(b'T'));
    assert_summary(&talk, &["query SELECT a, b FROM t | SELECT 2 2 open"]);
    let record = &talk.records[0];
    let response = record.response.as_ref().unwrap();
    let names: Vec<_> = response.columns.iter().collect();
    assert_eq!(names, [(&b"a"[..], 23, false), (&b"b"[..], 23, false)]);
    assert_eq!((response.data_rows, response.data_bytes), (2, 21));
    assert_eq!(record.traffic.monotonic.0, start + 1_000_000);
    assert_eq!(record.traffic.time_to_first_byte, Some(Duration::from_millis(1)));
    assert_eq!(record.traffic.latency, Some(Duration::from_millis(3)));
    assert_eq!(record.traffic.request_bytes, 24);
}

#[test]
fn several_statements_of_one_query_are_one_record() {
    let mut talk = connected();
    talk.client(query("INSERT INTO t VALUES (1); SELECT 1; "));
    talk.server([tag("INSERT 0 1"), answer(&["1", "2"])].concat());
    talk.client(query("")).server([message(b'I', ""), ready(b'I')].concat());
    let summary =
        ["query INSERT INTO t VALUES (1); SELECT 1;  | SELECT 2 3 idle", "query  | - - idle"];
    assert_summary(&talk, &summary);
    let response = talk.records[0].response.as_ref().unwrap();
    assert_eq!(response.command_tags, ["INSERT 0 1", "SELECT 2"]);
    assert_eq!(response.statements, 2);
}

#[test]
fn errors_and_notices_have_their_fields() {
    let mut talk = connected();
    talk.client(query("SELECT x"));
    let fields = "SERROR\0VERROR\0C42703\0Mno x\0Dbecause\0Htry y\0P8\0tt\0cx\0nk\0\0";
    talk.server([notice("beware"), message(b'E', fields), ready(b'E')].concat());
    assert_summary(&talk, &["query SELECT x | 42703 - failed"]);
    let response = talk.records[0].response.as_ref().unwrap();
    assert_eq!(response.notices[0].message, "beware");
    let error = response.error.as_ref().unwrap();
    assert_eq!((error.severity.clone(), error.position), ("ERROR".into(), Some(8)));
    assert_eq!(error.detail, Some("because".into()));
    assert_eq!(error.hint, Some("try y".into()));
    assert_eq!((&error.table, &error.column), (&Some("t".into()), &Some("x".into())));
    assert_eq!(error.constraint, Some("k".into()));
}

#[test]
fn the_extended_protocol_is_one_record_a_statement() {
    let mut talk = connected();
    talk.client(extended("SELECT $1", &["x"]));
    talk.server([extended_result(&["x"]), ready(b'I')].concat());
    assert_summary(&talk, &["execute SELECT $1 | SELECT 1 1 idle"]);
    let request = talk.records[0].request.as_ref().unwrap();
    assert_eq!(request.parameters[0].as_ref().unwrap().bytes, "x");
    assert_eq!(request.prepared, Some("".into()));
    let traffic = &talk.records[0].traffic;
    assert_eq!(traffic.request_bytes, extended("SELECT $1", &["x"]).len() as u64);
    let wire = extended_result(&["x"]).len() + ready(b'I').len();
    assert_eq!(traffic.response_bytes, wire as u64);
}

#[test]
fn a_prepared_statement_is_known_by_its_name() {
    let mut talk = connected();
    talk.client([parse("s", "SELECT $1"), sync()].concat());
    talk.server([message(b'1', ""), ready(b'I')].concat());
    let run = [bind("", "s", &["x"]), execute("", 0), sync()].concat();
    let answer = [message(b'2', ""), row(&["x"]), tag("SELECT 1"), ready(b'I')].concat();
    talk.client(&run).server(&answer);
    talk.client([close("s"), sync()].concat());
    talk.server([message(b'3', ""), ready(b'I')].concat());
    talk.client(&run).server([error("ERROR", "26000", "no s"), ready(b'I')].concat());
    assert_summary(
        &talk,
        &[
            "parse SELECT $1 | - - idle",
            "execute SELECT $1 | SELECT 1 1 idle",
            "execute - | 26000 - idle",
        ],
    );
    assert_eq!(talk.records[1].request.as_ref().unwrap().prepared, Some("s".into()));
}

#[test]
fn a_name_that_may_stand_for_something_else_stands_for_nothing() {
    let run = [bind("", "s", &[]), execute("", 0), sync()].concat();
    let answer = [message(b'2', ""), tag("SELECT 1"), ready(b'I')].concat();
    let prepared = || {
        let mut talk = connected();
        talk.client([parse("s", "SELECT 1"), sync()].concat());
        talk.server([message(b'1', ""), ready(b'I')].concat());
        talk
    };
    let statement_of_run = |mut talk: Talk| {
        talk.client(&run).server(&answer);
        talk.summary().pop().unwrap()
    };
    assert_eq!(statement_of_run(prepared()), "execute SELECT 1 | SELECT 1 1 idle");

    let mut talk = prepared();
    talk.client(query("DISCARD ALL")).server([tag("DISCARD ALL"), ready(b'I')].concat());
    assert_eq!(statement_of_run(talk), "execute - | SELECT 1 1 idle");

    let mut talk = prepared();
    talk.gap(REQUESTS, 100);
    assert_eq!(statement_of_run(talk), "execute - | SELECT 1 1 idle");

    // It exists already: the old one stays.
    let mut talk = prepared();
    talk.client([parse("s", "SELECT 2"), sync()].concat());
    talk.server([error("ERROR", "42P05", "s exists"), ready(b'I')].concat());
    assert_eq!(statement_of_run(talk), "execute SELECT 1 | SELECT 1 1 idle");
}

#[test]
fn a_pipeline_is_paired_in_order() {
    let mut talk = connected();
    talk.client([extended("SELECT 1", &[]), extended("SELECT 2", &[]), query("SELECT 3")].concat());
    let one = [extended_result(&["1"]), ready(b'I')].concat();
    talk.server([one.clone(), one, answer(&["3", "4"])].concat());
    assert_summary(
        &talk,
        &[
            "execute SELECT 1 | SELECT 1 1 idle",
            "execute SELECT 2 | SELECT 1 1 idle",
            "query SELECT 3 | SELECT 2 2 idle",
        ],
    );
}

#[test]
fn an_error_in_a_pipeline_passes_over_what_follows_to_the_sync() {
    let mut talk = connected();
    let run = |text: &str| [parse("", text), bind("", "", &[]), execute("", 0)].concat();
    talk.client([run("SELECT 1"), run("SELECT x"), run("SELECT 2"), sync()].concat());
    talk.client([run("SELECT 3"), sync()].concat());
    let done = [message(b'1', ""), message(b'2', ""), tag("SELECT 1")].concat();
    talk.server([&done[..], &error("ERROR", "42703", "no x"), &ready(b'I')].concat());
    talk.server([&done[..], &ready(b'I')].concat());
    assert_summary(
        &talk,
        &[
            "execute SELECT 1 | SELECT 1 1 -",
            "execute SELECT x | 42703 - idle",
            "execute SELECT 2 | aborted - idle",
            "execute SELECT 3 | SELECT 1 1 idle",
        ],
    );
    assert!(talk.records[2].is_error());
    assert_eq!(talk.records[2].traffic.latency, None);
}

#[test]
fn what_comes_before_the_sync_is_passed_over_also_when_it_comes_late() {
    let mut talk = connected();
    talk.client([parse("", "SELECT x"), message(b'H', "")].concat());
    talk.server(error("ERROR", "42703", "no x"));
    talk.client([bind("", "", &[]), execute("", 0)].concat()).client(sync());
    talk.server(ready(b'I'));
    talk.client(query("SELECT 1")).server(answer(&["1"]));
    assert_summary(
        &talk,
        &[
            "parse SELECT x | 42703 - -",
            "execute - | aborted - idle",
            "query SELECT 1 | SELECT 1 1 idle",
        ],
    );
}

#[test]
fn a_portal_is_fetched_from_in_parts() {
    let mut talk = connected();
    talk.client([parse("", "SELECT 1"), bind("p", "", &[]), execute("p", 2), sync()].concat());
    talk.server([message(b'1', ""), message(b'2', "")].concat());
    talk.server([row(&["1"]), row(&["2"]), message(b's', ""), ready(b'T')].concat());
    talk.client([execute("p", 2), sync()].concat());
    talk.server([row(&["3"]), tag("SELECT 1"), ready(b'T')].concat());
    assert_summary(&talk, &["execute SELECT 1 | - 2 open", "execute SELECT 1 | SELECT 1 1 open"]);
    assert!(talk.records[0].response.as_ref().unwrap().suspended);
    assert_eq!(talk.records[0].request.as_ref().unwrap().row_limit, Some(2));
}

#[test]
fn a_commit_that_fails_is_an_error_of_its_statement() {
    let mut talk = connected();
    talk.client(extended("INSERT", &[]));
    talk.server([message(b'1', ""), message(b'2', ""), message(b'n', "")].concat());
    talk.server([tag("INSERT 0 1"), error("ERROR", "23503", "deferred"), ready(b'I')].concat());
    assert_summary(&talk, &["execute INSERT | 23503 1 idle"]);
}

#[test]
fn copies_are_counted_both_ways() {
    let mut talk = connected();
    talk.client(query("COPY t FROM STDIN")).server(message(b'G', [0, 0, 1, 0, 0]));
    talk.client([message(b'd', "1\n"), message(b'd', "22\n"), message(b'c', "")].concat());
    talk.server([tag("COPY 2"), ready(b'I')].concat());
    talk.client(query("COPY t TO STDOUT"));
    talk.server([message(b'H', [1, 0, 1, 0, 1]), message(b'd', "123456")].concat());
    talk.server([message(b'c', ""), tag("COPY 1"), ready(b'I')].concat());
    assert_summary(
        &talk,
        &["query COPY t FROM STDIN | COPY 2 2 idle", "query COPY t TO STDOUT | COPY 1 1 idle"],
    );
    let copy =
        |place: usize| **talk.records[place].response.as_ref().unwrap().copy.as_ref().unwrap();
    let (to, from) = (copy(0), copy(1));
    assert_eq!((to.direction, to.bytes, to.messages), (PostgresCopyDirection::In, 5, 2));
    assert_eq!((from.direction, from.bytes, from.messages), (PostgresCopyDirection::Out, 6, 1));
    assert!(from.binary && !to.binary && to.complete && from.complete);
    assert_eq!(talk.records[0].traffic.request_bytes, 23 + 7 + 8 + 5);
}

#[test]
fn a_sync_sent_with_a_copy_is_not_looked_at() {
    let mut talk = connected();
    talk.client(extended("COPY t FROM STDIN", &[]));
    let begun = [message(b'1', ""), message(b'2', ""), message(b'n', "")].concat();
    talk.server([begun, message(b'G', [0, 0, 1, 0, 0])].concat());
    talk.client([message(b'd', "1\n"), message(b'c', ""), sync()].concat());
    talk.server([tag("COPY 1"), ready(b'I')].concat());
    talk.client(query("COPY t FROM STDIN")).server(message(b'G', [0, 0, 1, 0, 0]));
    talk.client(message(b'f', "no more\0"));
    talk.server([error("ERROR", "57014", "failed"), ready(b'I')].concat());
    assert_summary(
        &talk,
        &["execute COPY t FROM STDIN | COPY 1 1 idle", "query COPY t FROM STDIN | 57014 - idle"],
    );
}

#[test]
fn replication_is_stepped_over_and_counted() {
    let mut talk = connected();
    talk.client(query("START_REPLICATION 0/0")).server(message(b'W', [0, 0, 0]));
    talk.server(message(b'd', "wal")).client(message(b'd', "status"));
    talk.client(message(b'c', "")).server([message(b'c', ""), tag("COPY 0"), ready(b'I')].concat());
    assert_summary(&talk, &["query START_REPLICATION 0/0 | COPY 0 0 idle"]);
    let copy = talk.records[0].response.as_ref().unwrap().copy.as_ref().unwrap();
    assert_eq!((copy.direction, copy.bytes), (PostgresCopyDirection::Both, 9));
}

#[test]
fn a_function_call_is_one_record() {
    let mut talk = connected();
    talk.client(message(b'F', b"\0\0\x03\xe8\0\0\0\x01\0\0\0\x06secret\0\0"));
    talk.server([message(b'V', b"\0\0\0\x01x"), ready(b'I')].concat());
    assert_summary(&talk, &["function_call - | - - idle"]);
    assert_eq!(talk.records[0].request.as_ref().unwrap().function, Some(1000));
}

#[test]
fn notifications_answer_nothing() {
    let mut talk = connected();
    let notification = message(b'A', b"\0\0\0\x07news\0hello\0");
    talk.server(&notification).client(query("SELECT 1"));
    talk.server([&columns(&["a"])[..], &notification, &tag("SELECT 0"), &ready(b'I')].concat());
    assert_summary(&talk, &["- | - - -", "- | - - -", "query SELECT 1 | SELECT 0 0 idle"]);
    let response = talk.records[0].response.as_ref().unwrap();
    let notification = response.notification.as_ref().unwrap();
    assert_eq!((notification.process, &notification.channel), (7, &"news".into()));
    assert_eq!(notification.payload, "hello");
    assert_eq!(talk.records[0].traffic.latency, None);
}

#[test]
fn a_server_that_shuts_down_says_so_unasked() {
    let mut talk = connected();
    talk.server(error("FATAL", "57P01", "terminating connection"));
    assert_summary(&talk, &["- | 57P01 - -"]);
    let mut talk = connected();
    talk.client(query("SELECT pg_sleep(9)"));
    talk.server(error("FATAL", "57P01", "terminating connection")).finish();
    assert_summary(&talk, &["query SELECT pg_sleep(9) | 57P01 - -"]);
}

#[test]
fn a_connection_joined_midway_is_understood() {
    let mut talk = Talk::new();
    talk.server([&b"rest of a row"[..], &tag("SELECT 9"), &ready(b'I')].concat());
    talk.client(query("SELECT 1")).server(answer(&["1"]));
    talk.client([bind("", "s", &["x"]), execute("", 0), sync()].concat());
    talk.server([message(b'2', ""), row(&["x"]), tag("SELECT 1"), ready(b'I')].concat());
    assert_summary(
        &talk,
        &["- | SELECT 9 9 idle", "query SELECT 1 | SELECT 1 1 idle", "execute - | SELECT 1 1 idle"],
    );
    assert_eq!(talk.skipped, [(RESPONSES, 13, Cause::Unobserved)]);
}

#[test]
fn large_rows_are_stepped_over_where_they_were_not_captured() {
    let mut talk = connected();
    talk.client(query("SELECT 1"));
    let large = row(&[&"x".repeat(100_000)]);
    let (start, rest) = large.split_at(1000);
    talk.server([&columns(&["a"])[..], start].concat()).gap(RESPONSES, rest.len() as u64);
    talk.server([row(&["2"]), tag("SELECT 2"), ready(b'I')].concat());
    assert_summary(&talk, &["query SELECT 1 | SELECT 2 2 idle"]);
    let response = talk.records[0].response.as_ref().unwrap();
    assert_eq!((response.data_rows, response.data_bytes), (2, 100_009));
    assert!(talk.skipped.is_empty());
}

#[test]
fn after_a_hole_over_headers_the_end_of_the_result_is_found() {
    let mut talk = connected();
    talk.client(query("SELECT 1"));
    let tail = [&b"end of a row"[..], &row(&["z"]), &tag("SELECT 99"), &ready(b'I')].concat();
    talk.server([columns(&["a"]), row(&["b"])].concat()).gap(RESPONSES, 5000).server(tail);
    talk.client(query("SELECT 2")).server(answer(&["1"]));
    assert_summary(
        &talk,
        &["query SELECT 1 | SELECT 99 99 idle", "query SELECT 2 | SELECT 1 1 idle"],
    );
}

#[test]
fn where_the_end_was_not_captured_the_next_query_is_the_next_boundary() {
    let mut talk = connected();
    talk.client(query("SELECT 1")).server([columns(&["a"]), row(&["b"])].concat());
    talk.gap(RESPONSES, 5000).server(&row(&["z"])[..4]).gap(RESPONSES, 5000);
    talk.client(query("SELECT 2")).server(answer(&["1"]));
    assert_summary(
        &talk,
        &["query SELECT 1 | - - - incomplete", "query SELECT 2 | SELECT 1 1 idle"],
    );
    assert_eq!(talk.records[0].traffic.latency, None);
}

#[test]
fn after_a_gap_in_a_pipeline_nothing_is_paired_wrongly() {
    let mut talk = connected();
    talk.client([query("SELECT 1"), query("SELECT 2"), query("SELECT 3")].concat());
    talk.server(answer(&["1"])).gap(RESPONSES, 30).server(answer(&["1", "2", "3"]));
    talk.client(query("SELECT 4")).server(answer(&["1", "2", "3", "4"]));
    assert_summary(
        &talk,
        &[
            "query SELECT 1 | SELECT 1 1 idle",
            "query SELECT 2 | -",
            "query SELECT 3 | -",
            "- | SELECT 3 3 idle",
            "query SELECT 4 | SELECT 4 4 idle",
        ],
    );
}

#[test]
fn a_query_that_was_lost_leaves_its_answer_alone() {
    let mut talk = connected();
    talk.gap(REQUESTS, 20).server(answer(&["1"]));
    talk.client(query("SELECT 2")).server(answer(&["1", "2"]));
    assert_summary(&talk, &["- | SELECT 1 1 idle", "query SELECT 2 | SELECT 2 2 idle"]);
}

#[test]
fn a_hole_in_a_statement_leaves_its_size_true() {
    let mut talk = connected();
    let long = query(&format!("SELECT '{}'", "x".repeat(1000)));
    talk.client(&long[..105]).gap(REQUESTS, long.len() as u64 - 105).server(answer(&["1"]));
    let request = talk.records[0].request.as_ref().unwrap();
    let statement = request.statement.as_ref().unwrap();
    assert_eq!((statement.text.len(), statement.size), (100, Some(1009)));
    assert!(talk.records[0].response.as_ref().unwrap().complete);
}

#[test]
fn malformed_bytes_are_passed_over() {
    let mut talk = connected();
    talk.client(query("SELECT 1")).server([&b"\xff\xff\xff"[..], &answer(&["1"])].concat());
    talk.client([&b"nonsense"[..], &query("SELECT 2")].concat()).server(answer(&["1"]));
    assert_summary(
        &talk,
        &["query SELECT 1 | SELECT 1 1 idle", "query SELECT 2 | SELECT 1 1 idle"],
    );
    assert_eq!(talk.skipped, [(RESPONSES, 3, Cause::Malformed), (REQUESTS, 8, Cause::Malformed)]);
}

#[test]
fn what_is_unpaired_is_bounded() {
    let mut limits = Limits::default();
    limits.pending = 4;
    let mut talk = Talk::with_limits(limits);
    talk.client(startup()).server(welcome());
    talk.records.clear();
    for number in 0..6 {
        talk.client(query(&format!("SELECT {number}")));
    }
    for number in 0..6 {
        talk.server(answer(&vec!["x"; number]));
    }
    let expected: Vec<String> = (0..6)
        .map(|number| match number {
            0 | 1 => format!("query SELECT {number} | -"),
            _ => format!("query SELECT {number} | SELECT {number} {number} idle"),
        })
        .collect();
    assert_eq!(talk.summary(), expected);
    let skipped: u64 = [0, 1].map(|number| answer(&vec!["x"; number]).len() as u64).iter().sum();
    assert_eq!(talk.bytes_skipped(), skipped);
    assert!(talk.skipped.iter().all(|(_, _, cause)| *cause == Cause::MemoryLimit));

    // A run without end, too.
    let run = [bind("", "s", &[]), execute("", 0)].concat();
    for _ in 0..6 {
        talk.client(&run);
    }
    talk.client(sync());
    let done = [message(b'2', ""), tag("SELECT 7")].concat();
    talk.server([done.repeat(6), ready(b'I')].concat());
    talk.client(query("SELECT 8")).server(answer(&["1"]));
    assert_eq!(talk.records.len(), 6 + 6 + 1);
    assert!(talk.records[6..12].iter().all(|record| record.response.is_none()));
    assert_eq!(talk.summary().pop().unwrap(), "query SELECT 8 | SELECT 1 1 idle");
}

#[test]
fn memory_is_bounded_whatever_is_prepared_or_closed() {
    let mut talk = connected();
    let text = "x".repeat(4000);
    for number in 0..3000 {
        talk.client([parse(&format!("s{number}"), &text), sync()].concat());
        talk.server([message(b'1', ""), ready(b'I')].concat());
        assert!(talk.memory() < 2 << 20, "{} bytes", talk.memory());
    }
    for number in 0..3000 {
        talk.client([close(&format!("s{number}")), describe_portal()].concat());
        assert!(talk.memory() < 2 << 20, "{} bytes", talk.memory());
    }
    assert!(talk.memory() > 1 << 10);
}

#[test]
fn what_is_half_there_at_the_end_is_told() {
    let mut talk = connected();
    talk.client(query("SELECT 1")).server(columns(&["a"])).client(query("SELECT 2")).finish();
    assert_summary(&talk, &["query SELECT 1 | - - - incomplete", "query SELECT 2 | -"]);
}

#[test]
fn both_sides_are_recognised() {
    let requests: Vec<Vec<u8>> = vec![
        startup(),
        ssl_request(),
        packet(0x04d2_162e, "\0\0\x12\x34KEYS"),
        packet(0x3_0002, "client_encoding\0UTF8\0user\0x\0\0"),
        query("SELECT 1"),
        query(&"SELECT 1 ".repeat(1000)),
        extended("SELECT 1", &[]),
        [bind("", "s", &["x"]), execute("", 0)].concat(),
    ];
    for bytes in requests {
        let bytes = &bytes[..bytes.len().min(4096)];
        assert_eq!(Postgres.probe(bytes), Verdict::Yes, "{}", bytes.escape_ascii());
        for length in 0..bytes.len() {
            let verdict = Postgres.probe(&bytes[..length]);
            assert!(matches!(verdict, Verdict::NeedMore | Verdict::Yes), "{length}: {verdict:?}");
        }
    }
    let answers: Vec<Vec<u8>> = vec![
        welcome(),
        answer(&["1"]),
        extended_result(&["1"]),
        [row(&["1"]), row(&["2"])].concat(),
        [ready(b'I'), columns(&["a"])].concat(),
        error("ERROR", "42703", "x"),
        result(&[]),
    ];
    for bytes in answers {
        assert_eq!(Postgres.probe(&bytes), Verdict::Reversed, "{}", bytes.escape_ascii());
    }
}

#[test]
fn other_protocols_are_not_taken_for_it() {
    let others: &[(&str, &[u8])] = &[
        ("HTTP", b"GET / HTTP/1.1\r\n"),
        ("HTTP, POST", b"POST / HTTP/1.1\r\n"),
        ("HTTP answer", b"HTTP/1.1 200 OK\r\n"),
        ("TLS ClientHello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("HTTP/2 settings", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64"),
        ("SSH", b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
        ("Redis", b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"),
        ("memcached", b"get key1 key2\r\n"),
        ("MySQL greeting", b"J\x00\x00\x00\x0a8.0.36\x00\x08\x00\x00\x00"),
        ("MySQL query", b"\x09\x00\x00\x00\x03SELECT 1"),
        ("SMTP", b"220 mail.test ESMTP\r\n"),
        ("NATS", b"CONNECT {\"verbose\":false}\r\n"),
        ("NATS info", b"INFO {\"server_id\":\"A\"}\r\n"),
        ("MQTT", b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04test"),
        ("AMQP", b"AMQP\x00\x00\x09\x01"),
        ("MongoDB", b"\x3a\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xd4\x07\x00\x00"),
        ("Kafka", b"\x00\x00\x00\x1c\x00\x12\x00\x03\x00\x00\x00\x01\x00\x04test"),
        ("Kafka metadata", b"\x00\x00\x00\x1c\x00\x03\x00\x00\x00\x00\x00\x01\x00\x04test"),
        ("CQL", b"\x04\x00\x00\x00\x01\x00\x00\x00\x16\x00\x01\x00\x0bCQL_VERSION"),
        ("DNS over TCP", b"\x00\x1d\xab\xcd\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a"),
        ("startup of version 2", b"\x00\x00\x01\x28\x00\x02\x00\x00shop\0\0\0\0"),
    ];
    for (name, bytes) in others {
        assert_eq!(Postgres.probe(bytes), Verdict::No, "{name}");
        for length in 0..bytes.len() {
            let verdict = Postgres.probe(&bytes[..length]);
            assert!(matches!(verdict, Verdict::No | Verdict::NeedMore), "{name}, {length} bytes");
        }
    }
}
