//! A sink of one's own: how often each endpoint was called, how often it failed, how long it took.
//!
//! ```text
//! cargo build --example custom_sink && sudo target/debug/examples/custom_sink --for 10
//! ```

use pixie::id::Role;
use pixie::{Interest, Record, RecordKind, Sink, SinkError, Tracer};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Write};
use std::time::Duration;

const USAGE: &str = "\
Sums up the HTTP exchanges that the servers on this machine had, endpoint by endpoint.

Usage: custom_sink [--for SECONDS]

      --for SECONDS   how long to look [default: 10]
  -h, --help          this text
";

/// Sums up exchanges, and writes a table of them each time that it has caught up.
///
/// It is moved to a thread of its own and called from there alone, so that it needs no lock.
struct Summary<W> {
    output: W,
    endpoints: BTreeMap<(String, String), Endpoint>,
}

#[derive(Default)]
struct Endpoint {
    calls: u64,
    failures: u64,
    slowest: Duration,
}

impl<W: Write + Send> Sink for Summary<W> {
    fn emit(&mut self, records: &[Record]) -> Result<(), SinkError> {
        for record in records {
            // Record is non-exhaustive: a sink takes the kinds that it knows.
            let Record::Http(http) = record else { continue };
            let (Some(Role::Server), Some(request)) = (http.traffic.role, &http.request) else {
                continue;
            };
            let path = request.path.to_str();
            let path = path.split('?').next().unwrap_or_default();
            let endpoint = (request.method.to_string(), path.to_owned());
            let endpoint = self.endpoints.entry(endpoint).or_default();
            endpoint.calls += 1;
            endpoint.failures += u64::from(record.is_error());
            endpoint.slowest = endpoint.slowest.max(http.traffic.latency.unwrap_or_default());
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        writeln!(self.output, "{:>8} {:>8} {:>10}  endpoint", "calls", "failed", "slowest")?;
        for ((method, path), Endpoint { calls, failures, slowest }) in &self.endpoints {
            writeln!(self.output, "{calls:>8} {failures:>8} {slowest:>10.2?}  {method} {path}")?;
        }
        Ok(())
    }

    /// Nothing else is even captured for us.
    fn interest(&self) -> Interest {
        Interest::none().with(RecordKind::Http)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    use lexopt::prelude::{Long, Short, ValueExt as _};
    let mut duration = Duration::from_secs(10);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("for") => duration = Duration::from_secs(arguments.value()?.parse()?),
            Short('h') | Long("help") => return Ok(io::stdout().write_all(USAGE.as_bytes())?),
            other => return Err(other.unexpected().into()),
        }
    }
    let summary = Summary { output: io::stdout(), endpoints: BTreeMap::new() };
    let session = Tracer::new().kprobes().sink(summary).start()?;
    writeln!(io::stderr(), "{}\nready", session.report())?;
    std::thread::sleep(duration);
    writeln!(io::stderr(), "{}", session.stop()?)?;
    Ok(())
}
