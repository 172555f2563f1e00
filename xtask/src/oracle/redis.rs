//! Redis: commands, with how many arguments, and short answers.

use super::records::{Record, show};
use super::tshark::Row;
use super::{Capture, Judge};

pub(super) const JUDGE: Judge = Judge {
    protocol: "redis",
    is_ours: |record| record.is("redis"),
    decode_as: &[("tcp", "resp")],
    filter: "resp",
    fields: &[
        "resp.array.length",
        "resp.bulk_string.length",
        "resp.bulk_string.value",
        "resp.string",
        "resp.error",
    ],
    theirs,
    ours,
    needs_all_bytes: true,
    excused: &[("inline.pcapng", "tshark knows no inline commands")],
    not_judged: "RESP3 and inline commands, which tshark does not know; values, beside simple strings \
                 and errors",
};

fn theirs(row: &Row<'_>) -> Vec<String> {
    let ends = row.ends();
    if row.is_asking() {
        // Empty ones have no value.
        let mut values = row.every("resp.bulk_string.value").into_iter();
        let sizes = row.all("resp.bulk_string.length").into_iter();
        let mut strings =
            sizes.map(|size| if size == "0" { Some("") } else { values.next() }).map_while(|it| it);
        let lengths = row.all("resp.array.length").into_iter();
        return lengths
            .filter_map(|length| {
                let arguments = length.parse::<usize>().ok()?.checked_sub(1)?;
                let name = strings.next()?;
                // A command of which the packet has only a part is told of again with the rest.
                let is_whole = strings.by_ref().take(arguments).count() == arguments;
                is_whole.then(|| command(&ends, &text(name), arguments as u64))
            })
            .collect();
    }
    let simple = row.all("resp.string").into_iter().map(|text| answer(&ends, "simple", text));
    simple
        .chain(row.all("resp.error").into_iter().map(|text| answer(&ends, "error", text)))
        .collect()
}

fn ours(record: &Record, _: &Capture) -> Vec<String> {
    let ends = record.ends();
    let mut lines = Vec::new();
    if !record.at(&["request"]).is_null() {
        let name = show(record.at(&["request", "command"]));
        let arguments = record.at(&["request", "argument_count"]).as_u64().unwrap_or_default();
        lines.push(command(&ends, &name, arguments));
    }
    let at = |name| show(record.at(&["response", name]));
    match at("type").as_str() {
        "simple" => lines.push(answer(&ends, "simple", &at("value"))),
        "error" => lines.push(answer(&ends, "error", &at("error"))),
        _ => {}
    }
    lines
}

fn command(ends: &str, name: &str, arguments: u64) -> String {
    format!("{ends} {} and {arguments} arguments", name.to_ascii_uppercase())
}

fn answer(ends: &str, kind: &str, text: &str) -> String {
    format!("{ends} {kind} {}", text.trim_end())
}

/// The text whose bytes are these hexadecimal digits.
fn text(digits: &str) -> String {
    let bytes = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    String::from_utf8_lossy(&bytes.filter_map(byte).collect::<Vec<_>>()).into_owned()
}
