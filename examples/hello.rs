//! Every HTTP exchange on this machine, for ten seconds.
//!
//! ```text
//! cargo build --example hello && sudo target/debug/examples/hello
//! ```

use pixie::Tracer;
use std::io::Write as _;
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stderr();
    if std::env::args().len() > 1 {
        writeln!(out, "usage: hello\nShows every HTTP exchange on this machine for ten seconds.")?;
        return Ok(());
    }
    let session = Tracer::new()
        .kprobes()
        .sink(pixie::sinks::try_each(|record| writeln!(std::io::stdout(), "{record}")))
        .start()?;
    writeln!(out, "{}", session.report())?;
    std::thread::sleep(Duration::from_secs(10));
    writeln!(out, "{}", session.stop()?)?;
    Ok(())
}
