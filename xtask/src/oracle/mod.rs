//! Another program's opinion: what tshark makes of packet captures, held against what we do.
//!
//! A protocol is a file beside this one, with a [`Judge`] in it, and a line in [`JUDGES`]. A judge turns
//! what tshark and what our records say of each message into lines of text; both must give the same
//! lines, in whatever order. What tshark cannot tell is left out of the lines, and said in
//! [`Judge::not_judged`].

mod dns;
mod grpc;
mod http1;
mod http2;
mod postgres;
mod records;
mod redis;
mod tls;
mod tshark;
mod websocket;

use crate::command::{installed, root};
use crate::steps::{Outcome, Tally, skip};
use anyhow::{Context, Result};
use records::Record;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tshark::Row;

pub(crate) const USAGE: &str = "\
cargo xtask oracle [FILE]...

Replays packet captures and compares with what tshark says of them, field by field; without FILEs,
those under tests/fixtures. Needs tshark.";

/// Every protocol that tshark is asked about.
const JUDGES: &[&Judge] = &[
    &http1::JUDGE,
    &http2::JUDGE,
    &grpc::JUDGE,
    &websocket::JUDGE,
    &postgres::JUDGE,
    &redis::JUDGE,
    &dns::JUDGE,
    &tls::JUDGE,
];

/// A protocol, as tshark and as our records tell of it.
struct Judge {
    /// Its name, which is also that of the folder of its fixtures.
    protocol: &'static str,
    /// Which of our records are its.
    is_ours: fn(&Record) -> bool,
    /// What tshark calls the protocol over each transport, where it does not recognise it by itself at
    /// ports that it does not know.
    decode_as: &'static [(&'static str, &'static str)],
    /// Which packets tshark is asked about.
    filter: &'static str,
    /// What it is asked of them.
    fields: &'static [&'static str],
    /// What a packet says, a line a message.
    theirs: fn(&Row<'_>) -> Vec<String>,
    /// What a record says, a line a message.
    ours: fn(&Record, &Capture) -> Vec<String>,
    /// Whether tshark is lost after bytes that were not captured: then such connections do not count.
    needs_all_bytes: bool,
    /// Fixtures on which tshark cannot be asked, and why not.
    excused: &'static [(&'static str, &'static str)],
    /// What tshark does not tell, or not so that it could be compared.
    not_judged: &'static str,
}

/// What is known of a capture.
struct Capture {
    path: PathBuf,
    /// The ends of connections of which some packets were not captured in full.
    cut_short: BTreeSet<String>,
}

impl Capture {
    /// Whether all packets between these ends were captured in full.
    fn has_all(&self, ends: &str) -> bool {
        !self.cut_short.contains(ends)
    }
}

pub(crate) fn main(arguments: &[String]) -> Result<ExitCode> {
    let files = match arguments {
        [] => fixtures()?,
        files => files.iter().map(PathBuf::from).collect(),
    };
    if installed("tshark").is_none() {
        println!("{NO_TSHARK}");
        return Ok(ExitCode::FAILURE);
    }
    let tally = judge_all(&files)?;
    println!("{tally}");
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The step of `cargo xtask test`.
pub(crate) fn test() -> Outcome {
    if installed("tshark").is_none() {
        return skip(NO_TSHARK);
    }
    Ok(judge_all(&fixtures()?)?)
}

const NO_TSHARK: &str = "tshark is not installed";

fn judge_all(files: &[PathBuf]) -> Result<Tally> {
    let replay = records::build()?;
    let mut tally = Tally::default();
    for path in files {
        let capture = Capture { path: path.clone(), cut_short: tshark::cut_short(path)? };
        let records = records::of(&replay, path)?;
        for judge in JUDGES {
            tally.add(judge.judge(&capture, &records)?);
        }
    }
    for Judge { protocol, not_judged, .. } in JUDGES {
        println!("{protocol:<12} not compared: {not_judged}");
    }
    Ok(tally)
}

/// All captures under `tests/fixtures`.
fn fixtures() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in root().join("tests/fixtures").read_dir()? {
        let folder = folder?.path();
        for file in folder.read_dir().with_context(|| format!("{}", folder.display()))? {
            let path = file?.path();
            if path.extension().is_some_and(|kind| kind == "pcap" || kind == "pcapng") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// What came of a comparison.
struct Verdict {
    agreed: usize,
    /// What only one of the two says.
    only_theirs: Vec<String>,
    only_ours: Vec<String>,
}

impl Judge {
    /// Compares, and shows what came of it. Where neither has seen the protocol, there is nothing to
    /// tell, unless the capture lies in the protocol's folder.
    fn judge(&self, capture: &Capture, records: &[Record]) -> Result<Tally> {
        let file = capture.path.file_name().unwrap_or_default();
        let folder = capture.path.parent().and_then(Path::file_name).unwrap_or_default();
        let name = Path::new(folder).join(file);
        let name = format!("{:<12} {}", self.protocol, name.display());
        let verdict = self.compare(capture, records).context(name.clone())?;
        if verdict.is_empty() && folder != self.protocol {
            return Ok(Tally::default());
        }
        let excuse = self.excused.iter().find(|(excused, _)| file == *excused);
        if let Some((_, reason)) = excuse {
            println!("{name}: skipped: {reason}");
            return Ok(Tally { skipped: 1, ..Tally::default() });
        }
        println!("{name}: {verdict}");
        let failed = u64::from(!verdict.is_agreement());
        Ok(Tally { passed: 1 - failed, failed, skipped: 0 })
    }

    fn compare(&self, capture: &Capture, records: &[Record]) -> Result<Verdict> {
        let (records, others): (Vec<_>, Vec<_>) =
            records.iter().partition(|record| (self.is_ours)(record));
        let mut servers: Vec<u16> = records.iter().filter_map(|record| record.server()).collect();
        servers.sort_unstable();
        servers.dedup();
        // Where it changes from one protocol to another, tshark sees that.
        let changes = |port: &u16| others.iter().any(|other| other.server() == Some(*port));
        let rule = |port: &u16| {
            let rule = |(over, name): &(&str, &str)| format!("{over}.port=={port},{name}");
            self.decode_as.iter().map(rule).collect::<Vec<_>>()
        };
        let decode: Vec<_> = servers.iter().filter(|port| !changes(port)).flat_map(rule).collect();
        let output = tshark::rows(&capture.path, &decode, self.filter, self.fields)?;
        let rows = output.lines().map(|line| Row::new(line, self.fields, &servers));
        let counts = |ends: String| !self.needs_all_bytes || capture.has_all(&ends);
        let rows = rows.filter(|row| counts(row.ends()));
        let records = records.iter().filter(|record| counts(record.ends()));
        let theirs = rows.flat_map(|row| (self.theirs)(&row)).collect();
        let ours = records.flat_map(|record| (self.ours)(record, capture)).collect();
        Ok(Verdict::of(theirs, ours))
    }
}

impl Verdict {
    fn of(theirs: Vec<String>, ours: Vec<String>) -> Self {
        let mut counts = BTreeMap::<String, (usize, usize)>::new();
        theirs.into_iter().for_each(|line| counts.entry(line).or_default().0 += 1);
        ours.into_iter().for_each(|line| counts.entry(line).or_default().1 += 1);
        let mut verdict = Self { agreed: 0, only_theirs: Vec::new(), only_ours: Vec::new() };
        for (line, (theirs, ours)) in counts {
            verdict.agreed += theirs.min(ours);
            let more = |one: usize, other: usize| vec![line.clone(); one.saturating_sub(other)];
            verdict.only_theirs.extend(more(theirs, ours));
            verdict.only_ours.extend(more(ours, theirs));
        }
        verdict
    }

    /// True when neither has said anything.
    fn is_empty(&self) -> bool {
        self.agreed + self.only_theirs.len() + self.only_ours.len() == 0
    }

    /// True when both have said the same, and something.
    fn is_agreement(&self) -> bool {
        self.agreed > 0 && self.only_theirs.is_empty() && self.only_ours.is_empty()
    }
}

impl fmt::Display for Verdict {
    /// How much agrees, and the first lines that do not.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 10;
        let Self { agreed, only_theirs, only_ours } = self;
        let differ = only_theirs.len() + only_ours.len();
        write!(formatter, "{agreed} agree, {differ} differ")?;
        for (who, lines) in [("tshark", only_theirs), ("pixie", only_ours)] {
            for line in lines.iter().take(SHOWN) {
                write!(formatter, "\n    only {who}: {line}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict;

    #[test]
    fn lines_are_compared_by_how_often_they_are_said() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect();
        let verdict = Verdict::of(lines("a b b c"), lines("b a d b b"));
        assert_eq!(verdict.agreed, 3);
        assert_eq!((verdict.only_theirs, verdict.only_ours), (lines("c"), lines("b d")));
    }
}
