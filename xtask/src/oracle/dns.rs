//! DNS: questions, codes and answers.

use super::records::{Record, list, show};
use super::tshark::Row;
use super::{Capture, Judge};

pub(super) const JUDGE: Judge = Judge {
    protocol: "dns",
    is_ours: |record| record.is("dns"),
    decode_as: &[("tcp", "dns"), ("udp", "dns")],
    // Errors of ICMP repeat what could not be delivered.
    filter: "(dns or mdns) and not icmp and not dns.flags.opcode == 5",
    fields: &[
        "dns.id",
        "dns.flags.response",
        "dns.flags.opcode",
        "dns.flags.rcode",
        "dns.qry.name",
        "dns.qry.type",
        "dns.count.answers",
        "dns.count.auth_rr",
        "dns.count.add_rr",
        "dns.a",
        "dns.aaaa",
        "dns.cname",
    ],
    theirs,
    ours,
    needs_all_bytes: false,
    excused: &[],
    not_judged: "updates, whose counts have other names; data but that of A, AAAA and CNAME; zone transfers beyond their first message",
};

/// Names of the numbers in use (<https://www.iana.org/assignments/dns-parameters>).
const TYPES: &[(&str, &str)] = &[
    ("1", "A"),
    ("2", "NS"),
    ("5", "CNAME"),
    ("6", "SOA"),
    ("12", "PTR"),
    ("13", "HINFO"),
    ("15", "MX"),
    ("16", "TXT"),
    ("28", "AAAA"),
    ("33", "SRV"),
    ("35", "NAPTR"),
    ("43", "DS"),
    ("46", "RRSIG"),
    ("47", "NSEC"),
    ("48", "DNSKEY"),
    ("64", "SVCB"),
    ("65", "HTTPS"),
    ("251", "IXFR"),
    ("252", "AXFR"),
    ("255", "ANY"),
    ("257", "CAA"),
];

const RCODES: &[(&str, &str)] = &[
    ("0", "NOERROR"),
    ("1", "FORMERR"),
    ("2", "SERVFAIL"),
    ("3", "NXDOMAIN"),
    ("4", "NOTIMP"),
    ("5", "REFUSED"),
    ("9", "NOTAUTH"),
];

const OPCODES: &[(&str, &str)] =
    &[("0", "QUERY"), ("2", "STATUS"), ("4", "NOTIFY"), ("5", "UPDATE")];

/// A field for each kind of record whose data is compared.
const DATA: [(&str, &str); 3] = [("A", "dns.a"), ("AAAA", "dns.aaaa"), ("CNAME", "dns.cname")];

fn theirs(row: &Row<'_>) -> Vec<String> {
    let nth = |field, index: usize| row.all(field).get(index).copied().unwrap_or("-");
    let mut responses = 0;
    let mut lines = Vec::new();
    for (index, id) in row.all("dns.id").into_iter().enumerate() {
        let response = matches!(nth("dns.flags.response", index), "1" | "True");
        let rcode = if response {
            named(RCODES, nth("dns.flags.rcode", responses), "RCODE")
        } else {
            "-".to_owned()
        };
        responses += usize::from(response);
        let client = if response { row.to() } else { row.from() };
        let id = u16::from_str_radix(id.trim_start_matches("0x"), 16).unwrap_or_default();
        let opcode = named(OPCODES, nth("dns.flags.opcode", index), "OPCODE");
        let name = nth("dns.qry.name", index);
        let name = if name == "<Root>" { "." } else { name };
        let kind = named(TYPES, nth("dns.qry.type", index), "TYPE");
        let counts = ["dns.count.answers", "dns.count.auth_rr", "dns.count.add_rr"];
        let counts = counts.map(|count| nth(count, index)).join(" ");
        lines.push(message(client, id.into(), &opcode, name, &kind, &rcode, &counts));
    }
    for (kind, field) in DATA {
        lines.extend(row.all(field).into_iter().map(|data| format!("{kind} {data}")));
    }
    lines
}

fn ours(record: &Record, _: &Capture) -> Vec<String> {
    if show(record.at(&["request", "opcode"])) == "UPDATE" {
        return Vec::new();
    }
    let client = record.client().to_string();
    let asked = ["request", "response"].map(|half| list(record.at(&[half, "questions"])));
    let question = asked.into_iter().flatten().next();
    let question =
        |field| question.map_or_else(|| "-".to_owned(), |question| show(&question[field]));
    let (name, kind) = (question("name"), question("type"));
    let mut lines = Vec::new();
    for half in ["request", "response"] {
        let said = record.at(&[half]);
        if said.is_null() {
            continue;
        }
        // A query without records says nothing of them, but for those of EDNS.
        let edns = u64::from(!said["edns"].is_null());
        let counts = [("answer_count", 0), ("authority_count", 0), ("additional_count", edns)];
        let counts = counts.map(|(count, usual)| said[count].as_u64().unwrap_or(usual).to_string());
        let counts = counts.join(" ");
        let (id, opcode, rcode) =
            (said["id"].as_u64().unwrap_or_default(), show(&said["opcode"]), show(&said["rcode"]));
        let line = message(&client, id, &opcode, &name, &kind, &rcode, &counts);
        let times =
            if half == "request" { 1 + record.at(&["retries"]).as_u64().unwrap_or(0) } else { 1 };
        lines.extend((0..times).map(|_| line.clone()));
        let sections =
            ["answers", "authorities", "additionals"].map(|section| list(&said[section]));
        for answer in sections.into_iter().flatten() {
            let kind = show(&answer["type"]);
            if DATA.iter().any(|(known, _)| *known == kind) {
                lines.push(format!("{kind} {}", show(&answer["data"])));
            }
        }
    }
    lines
}

fn message(
    client: &str,
    id: u64,
    opcode: &str,
    name: &str,
    kind: &str,
    rcode: &str,
    counts: &str,
) -> String {
    format!("{client} {id} {opcode} {name} {kind} -> {rcode} {counts}")
}

/// The name of a number, or what stands for one without a name.
fn named(names: &[(&str, &str)], number: &str, other: &str) -> String {
    let found = names.iter().find(|(known, _)| *known == number);
    found.map_or_else(
        || match number {
            "-" => "-".to_owned(),
            number => format!("{other}{number}"),
        },
        |(_, name)| (*name).to_owned(),
    )
}
