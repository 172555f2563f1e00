//! The command line.

use lexopt::prelude::{Long, Short, Value, ValueExt as _};
use std::ffi::OsString;

pub(crate) const USAGE: &str = "\
Shows the exchanges in a packet capture, one line each: the same records as `trace` makes of live
traffic, by the same code.

Usage: replay [OPTIONS] FILE

FILE is a pcap or pcapng file, or - for stdin.

Options:
      --json               one JSON object a line
      --decode PORT=PROTO  take connections with this port to speak this protocol (http1), whatever
                           they look like; can be given several times
      --stats              say on stderr what was read, what was skipped and what was lost
  -h, --help               this text

Every exchange is told once, from the client's side. A file that is damaged or cut short is read as
far as it goes; then the exit status is 1. Needs no privileges.
";

/// What is to be done.
pub(crate) enum Command {
    Help,
    Replay(Arguments),
}

/// What is to be read, and how it is shown.
pub(crate) struct Arguments {
    pub(crate) file: OsString,
    pub(crate) json: bool,
    pub(crate) show_stats: bool,
    pub(crate) decode: Vec<(u16, String)>,
}

pub(crate) fn parse() -> Result<Command, lexopt::Error> {
    let mut parser = lexopt::Parser::from_env();
    let (mut file, mut json, mut show_stats, mut decode) = (None, false, false, Vec::new());
    while let Some(argument) = parser.next()? {
        match argument {
            Long("json") => json = true,
            Long("stats") => show_stats = true,
            Long("decode") => decode.push(parser.value()?.parse_with(port_and_protocol)?),
            Short('h') | Long("help") => return Ok(Command::Help),
            Value(value) if file.is_none() => file = Some(value),
            other => return Err(other.unexpected()),
        }
    }
    let file = file.ok_or("which file? See replay --help")?;
    Ok(Command::Replay(Arguments { file, json, show_stats, decode }))
}

fn port_and_protocol(text: &str) -> Result<(u16, String), String> {
    let parts = text.split_once('=').and_then(|(port, protocol)| {
        let port = port.parse().ok()?;
        (!protocol.is_empty()).then(|| (port, protocol.to_owned()))
    });
    parts.ok_or_else(|| "it has the form PORT=PROTO: 8080=http1, say".to_owned())
}
