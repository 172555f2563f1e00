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
mod records;
mod redis;
mod tshark;

use crate::command::{installed, root};
use crate::steps::{Outcome, Tally, skip};
use anyhow::{Context, Result};
use records::Record;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tshark::Row;

pub(crate) const USAGE: &str = "\
cargo xtask oracle [FILE]...

Replays packet captures and compares with what tshark says of them, field by field; without FILEs,
those under tests/fixtures. Needs tshark.";

/// Every protocol that tshark is asked about.
const JUDGES: &[&Judge] = &[&http1::JUDGE, &http2::JUDGE, &grpc::JUDGE, &dns::JUDGE, &redis::JUDGE];

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
    /// What tshark does not tell, or not so that it could be compared.
    not_judged: &'static str,
}

/// What is known of a capture.
struct Capture {
    path: PathBuf,
    /// False when some packets were not captured in full.
    whole: bool,
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
        let capture = Capture { path: path.clone(), whole: tshark::is_whole(path)? };
        let records = records::of(&replay, path)?;
        for judge in JUDGES {
            let verdict = judge.judge(&capture, &records);
            let verdict = verdict.with_context(|| format!("{}", path.display()))?;
            tally.add(verdict.tell(judge, path));
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
    fn judge(&self, capture: &Capture, records: &[Record]) -> Result<Verdict> {
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
        let theirs = rows.flat_map(|row| (self.theirs)(&row)).collect();
        let ours = records.iter().flat_map(|record| (self.ours)(record, capture)).collect();
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

    /// Shows it. Where neither has seen the protocol, there is nothing to tell, unless it lies in the
    /// protocol's folder.
    fn tell(&self, judge: &Judge, path: &Path) -> Tally {
        const SHOWN: usize = 10;
        let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
        let differ = self.only_theirs.len() + self.only_ours.len();
        if self.agreed + differ == 0 && folder != judge.protocol {
            return Tally::default();
        }
        let name = Path::new(folder).join(path.file_name().unwrap_or_default());
        let Self { agreed, only_theirs, only_ours } = self;
        println!("{:<12} {}: {agreed} agree, {differ} differ", judge.protocol, name.display());
        for (who, lines) in [("tshark", only_theirs), ("pixie", only_ours)] {
            for line in lines.iter().take(SHOWN) {
                println!("    only {who}: {line}");
            }
        }
        let failed = u64::from(differ > 0 || self.agreed == 0);
        Tally { passed: 1 - failed, failed, skipped: 0 }
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
