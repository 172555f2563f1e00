//! Samples call stacks for a while and draws a flame graph, to look at in a browser.
//!
//! ```text
//! cargo build --example flamegraph && sudo target/debug/examples/flamegraph -o out.svg
//! ```

#[path = "profile/sampling.rs"]
mod sampling;

use pixie::profiler::FlameGraph;
use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
Samples the call stacks of every process on this machine for a while, and draws a flame graph: an SVG
file in which a browser zooms and searches.

Usage: flamegraph [OPTIONS] [-o FILE]    [default: flamegraph.svg]

      --title TEXT      what is written above it

";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "flamegraph: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut title = None;
    let sampling = sampling::parse(|name, parser| match name {
        "title" => {
            title = Some(parser.value()?.to_string_lossy().into_owned());
            Ok(true)
        }
        _ => Ok(false),
    })?;
    let Some(sampling) = sampling else {
        return Ok(write!(io::stdout(), "{USAGE}{}", sampling::OPTIONS)?);
    };
    let output = sampling.output.clone().unwrap_or_else(|| PathBuf::from("flamegraph.svg"));
    let file = File::create(&output).map_err(|error| format!("{}: {error}", output.display()))?;
    let (duration, measure) = (sampling.duration, sampling.measure);
    let (profile, stats) = sampling.run()?;
    let taken = stats.profile.samples;
    let mut graph = FlameGraph::new(measure);
    graph.subtitle = format!("{taken} stacks in {:.1} s", duration.as_secs_f64());
    if let Some(title) = title {
        graph.title = title;
    }
    profile.write_flame_graph(&graph, BufWriter::new(file))?;
    writeln!(io::stderr(), "wrote {}: open it in a browser", output.display())?;
    Ok(())
}
