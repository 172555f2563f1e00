//! PostgreSQL, as it was recorded; see `tests/fixtures/postgres/record.sh`.

use super::captures::read;
use super::play;
use pixie::record::{Postgres, PostgresCommand, PostgresCopyDirection};
use pixie::{Record, Stats};

/// The exchanges of a capture in which nothing is missing.
fn exchanges(name: &str) -> (Vec<Postgres>, Stats) {
    let (records, stats) = play(read(&format!("../postgres/{name}")));
    assert_eq!((&stats.lost[..], stats.parser.malformed), (&[][..], 0), "{name}");
    assert_eq!(stats.parser.bytes_skipped, 0, "{name}");
    assert!(!format!("{records:?}").contains("secret"), "{name}");
    let exchanges = records.into_iter().filter_map(|record| match record {
        Record::Postgres(exchange) => Some(*exchange),
        _ => None,
    });
    (exchanges.collect(), stats)
}

/// `query SELECT 1 -> SELECT 1, 1, idle`
fn line(exchange: &Postgres) -> String {
    let mut line = String::from("-");
    if let Some(request) = &exchange.request {
        line = request.command.as_str().to_owned();
        if let Some(statement) = &request.statement {
            line += &format!(" {}", statement.text);
        }
    }
    let Some(response) = &exchange.response else { return line };
    let what = match (&response.error, response.command_tag(), &response.notification) {
        (Some(error), ..) => error.sqlstate.to_string(),
        (None, Some(tag), _) => tag.to_string(),
        (None, None, Some(notification)) => notification.payload.to_string(),
        (None, None, None) => response.authentication.unwrap_or("-").to_owned(),
    };
    let state = response.transaction.map_or("-", |state| state.as_str());
    format!("{line} -> {what}, {state}")
}

fn lines(name: &str) -> Vec<String> {
    exchanges(name).0.iter().map(line).collect()
}

#[test]
fn queries_are_told_with_their_answers() {
    let (exchanges, stats) = exchanges("queries.pcapng");
    let lines: Vec<_> = exchanges.iter().map(line).collect();
    let expected = [
        "startup -> sasl, idle",
        "query CREATE TABLE t (a int PRIMARY KEY, b text) -> CREATE TABLE, idle",
        "query COPY  t FROM STDIN  -> COPY 3, idle",
        "query SELECT a, b FROM t ORDER BY a -> SELECT 3, idle",
        "query INSERT INTO t VALUES (1, 'again') -> 23505, idle",
        "query SELECT nothing FROM t -> 42703, idle",
        "query BEGIN; UPDATE t SET a = a + 10; ROLLBACK -> ROLLBACK, idle",
        "query DROP TABLE IF EXISTS absent -> DROP TABLE, idle",
        "query LISTEN news -> LISTEN, idle",
        "- -> hello, -",
        "query NOTIFY news, 'hello' -> NOTIFY, idle",
        "query COPY  t TO STDOUT  -> COPY 3, idle",
        "query SELECT repeat('x', 9000) -> SELECT 1, idle",
        "query DROP TABLE t -> DROP TABLE, idle",
    ];
    let mut lines = lines;
    // The notification comes before or after the end of the answer, as the server pleases.
    lines[9..11].sort();
    assert_eq!(lines, expected);

    let response = |place: usize| exchanges[place].response.as_ref().unwrap();
    let copied = response(2).copy.as_ref().unwrap();
    assert_eq!((copied.direction, copied.bytes), (PostgresCopyDirection::In, 20));
    let rows = response(3);
    assert_eq!((rows.rows, rows.data_rows, rows.columns.count()), (Some(3), 3, 2));
    let error = response(4).error.as_ref().unwrap();
    assert_eq!(error.constraint, Some("t_pkey".into()));
    assert_eq!(error.detail, Some("Key (a)=(1) already exists.".into()));
    assert_eq!(response(7).notices[0].sqlstate, "00000");
    assert_eq!(response(12).data_bytes, 9004);
    let copied = response(11).copy.as_ref().unwrap();
    assert_eq!((copied.direction, copied.bytes), (PostgresCopyDirection::Out, 20));

    // All but the question for encryption, its answer, and the farewell.
    let bytes = exchanges.iter().map(|it| it.traffic.request_bytes + it.traffic.response_bytes);
    assert_eq!(bytes.sum::<u64>() + 8 + 1 + 5, stats.stream.bytes_total);
    let answered = exchanges.iter().filter(|exchange| exchange.request.is_some());
    assert!(answered.into_iter().all(|exchange| exchange.traffic.latency.is_some()));
}

#[test]
fn every_mode_of_pgbench_runs_the_same_statements() {
    for (name, preparations) in
        [("extended.pcapng", 0), ("prepared.pcapng", 2), ("pipeline.pcapng", 0)]
    {
        let (exchanges, _) = exchanges(name);
        let of = |command, text: &str| {
            let is = |exchange: &&Postgres| {
                exchange.request.as_ref().is_some_and(|request| {
                    let statement = request.statement.as_ref();
                    request.command == command
                        && statement.is_some_and(|statement| statement.text == text)
                })
            };
            exchanges.iter().filter(is).cloned().collect::<Vec<_>>()
        };
        let prepared = of(PostgresCommand::Parse, "SELECT $1 + 1;").len()
            + of(PostgresCommand::Parse, "UPDATE counts SET a = a + $1;").len();
        assert_eq!(prepared, preparations, "{name}");
        for (text, tag) in
            [("SELECT $1 + 1;", "SELECT 1"), ("UPDATE counts SET a = a + $1;", "UPDATE 1")]
        {
            let executed = of(PostgresCommand::Execute, text);
            assert_eq!(executed.len(), 10, "{name}: {text}");
            for exchange in executed {
                let request = exchange.request.as_ref().unwrap();
                let response = exchange.response.as_ref().unwrap();
                assert_eq!(response.command_tag().unwrap(), tag);
                assert_eq!((response.rows, response.complete), (Some(1), true));
                assert_eq!(request.parameters[0].as_ref().unwrap().size, 2);
            }
        }
    }
}

#[test]
fn a_cancelled_statement_names_the_backend_that_was_to_stop() {
    let (exchanges, _) = exchanges("cancel.pcapng");
    let lines: Vec<_> = exchanges.iter().map(line).collect();
    let expected = [
        "startup -> sasl, idle",
        "query BEGIN -> BEGIN, open",
        "cancel",
        "query SELECT pg_sleep(60) -> 57014, failed",
        "query ROLLBACK -> ROLLBACK, idle",
        "query BEGIN -> BEGIN, open",
        "query SELECT 7 -> SELECT 1, open",
    ];
    assert_eq!(lines, expected);
    let backend = exchanges[0].response.as_ref().unwrap().process;
    assert!(backend.is_some());
    assert_eq!(exchanges[2].request.as_ref().unwrap().process, backend);
}

#[test]
fn a_wrong_password_is_an_error_of_the_startup() {
    assert_eq!(lines("refused.pcapng").last().unwrap(), "startup -> 28P01, -");
}
