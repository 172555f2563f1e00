//! PostgreSQL: statements, what they came to, errors and rows.

use super::records::{Record, list, show};
use super::tshark::Row;
use super::{Capture, Judge};

pub(super) const JUDGE: Judge = Judge {
    protocol: "postgres",
    is_ours: |record| record.is("postgres"),
    decode_as: &[("tcp", "pgsql")],
    filter: "pgsql",
    fields: &["pgsql.type", "pgsql.query", "pgsql.tag", "pgsql.code"],
    theirs,
    ours,
    needs_all_bytes: true,
    excused: &[],
    not_judged: "statements that were prepared (told where they are executed), parameters, values, \
                 startup and authentication",
};

fn theirs(row: &Row<'_>) -> Vec<String> {
    let ends = row.ends();
    let (mut queries, mut codes) =
        (row.every("pgsql.query").into_iter(), row.every("pgsql.code").into_iter());
    let mut lines = Vec::new();
    for kind in row.all("pgsql.type") {
        match kind {
            "Simple query" => lines.extend(queries.next().map(|text| query(&ends, text))),
            // Has a statement, too.
            "Parse" => drop(queries.next()),
            "Execute" => lines.push(execution(&ends)),
            "Data row" => lines.push(data_row(&ends)),
            "Error" => lines.extend(codes.next().map(|code| error(&ends, code))),
            "Notice" => drop(codes.next()),
            _ => {}
        }
    }
    lines.extend(row.all("pgsql.tag").into_iter().map(|text| tag(&ends, text)));
    lines
}

fn ours(record: &Record, _: &Capture) -> Vec<String> {
    let ends = record.ends();
    let mut lines = Vec::new();
    match record.at(&["request", "command"]).as_str() {
        Some("query") => lines.push(query(&ends, &show(record.at(&["request", "statement"])))),
        Some("execute") => lines.push(execution(&ends)),
        _ => {}
    }
    let tags = list(record.at(&["response", "command_tags"]));
    match record.at(&["response", "command_tag"]).as_str() {
        Some(text) if tags.is_empty() => lines.push(tag(&ends, text)),
        _ => lines.extend(tags.iter().map(|text| tag(&ends, &show(text)))),
    }
    let code = record.at(&["response", "error", "sqlstate"]);
    lines.extend(code.as_str().map(|code| error(&ends, code)));
    let rows = record.at(&["response", "data_rows"]).as_u64().unwrap_or(0);
    lines.extend((0..rows).map(|_| data_row(&ends)));
    lines
}

fn query(ends: &str, text: &str) -> String {
    // How either of the two shows what ends a line does not matter.
    format!(
        "{ends} query {}",
        text.replace("\\n", " ").split_whitespace().collect::<Vec<_>>().join(" ")
    )
}

fn execution(ends: &str) -> String {
    format!("{ends} execute")
}

fn tag(ends: &str, text: &str) -> String {
    format!("{ends} completes {text}")
}

fn error(ends: &str, code: &str) -> String {
    format!("{ends} fails by {code}")
}

fn data_row(ends: &str) -> String {
    format!("{ends} row")
}
