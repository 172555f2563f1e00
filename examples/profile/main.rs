//! Samples call stacks for a while and writes them to a file: folded, as pprof, or for the Firefox
//! Profiler.
//!
//! ```text
//! cargo build --example profile && sudo target/debug/examples/profile -o cpu.pb.gz
//! go tool pprof -top cpu.pb.gz
//! ```

mod sampling;

use pixie::profiler::GroupBy;
use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
Samples the call stacks of every process on this machine for a while, and writes them to a file.

Usage: profile [OPTIONS] -o FILE

      --format NAME     folded (a line a stack, as flamegraph.pl reads it), pprof (as `go tool
                        pprof` does) or firefox (for https://profiler.firefox.com, which shows threads
                        and times) [default: pprof if the file is called .pb.gz or .pprof, firefox if
                        .json]

";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "profile: {error}");
            ExitCode::FAILURE
        }
    }
}

/// In which form it is written.
#[derive(Clone, Copy)]
enum Format {
    Folded,
    Pprof,
    Firefox,
}

impl Format {
    fn by_name(path: &Path) -> Self {
        let name = path.to_string_lossy();
        match () {
            () if [".pb.gz", ".pprof", ".pb"].iter().any(|end| name.ends_with(end)) => Self::Pprof,
            () if name.ends_with(".json") => Self::Firefox,
            () => Self::Folded,
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut format = None;
    let sampling = sampling::parse(|name, parser| match name {
        "format" => {
            format = match parser.value()?.to_str() {
                Some("folded") => Some(Format::Folded),
                Some("pprof") => Some(Format::Pprof),
                Some("firefox") => Some(Format::Firefox),
                _ => return Err("--format is folded, pprof or firefox".into()),
            };
            Ok(true)
        }
        _ => Ok(false),
    })?;
    let Some(mut sampling) = sampling else {
        return Ok(write!(io::stdout(), "{USAGE}{}", sampling::OPTIONS)?);
    };
    let output = sampling.output.clone().ok_or("say where to write: -o FILE, see --help")?;
    let file = create(&output)?;
    let format = format.unwrap_or_else(|| Format::by_name(&output));
    if matches!(format, Format::Firefox) {
        sampling = sampling.with_intervals().by_default(GroupBy::Thread);
    }
    let measure = sampling.measure;
    let (profile, _) = sampling.run()?;
    match format {
        Format::Folded => profile.write_folded(measure, file)?,
        Format::Pprof => profile.write_pprof(file)?,
        Format::Firefox => profile.write_firefox(measure, file)?,
    }
    writeln!(io::stderr(), "wrote {}", output.display())?;
    Ok(())
}

fn create(path: &Path) -> Result<BufWriter<File>, String> {
    let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(BufWriter::new(file))
}
