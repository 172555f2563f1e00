//! Samples call stacks for a while and writes them to a file: folded, or as pprof.
//!
//! ```text
//! cargo build --example profile && sudo target/debug/examples/profile -o cpu.pb.gz
//! go tool pprof -top cpu.pb.gz
//! ```

mod sampling;

use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
Samples the call stacks of every process on this machine for a while, and writes them to a file.

Usage: profile [OPTIONS] -o FILE

      --format NAME     folded (a line a stack, as flamegraph.pl reads it) or pprof (as `go tool
                        pprof` does) [default: pprof if the file is called .pb.gz or .pprof]

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

fn run() -> Result<(), Box<dyn Error>> {
    let mut pprof = None;
    let sampling = sampling::parse(|name, parser| match name {
        "format" => {
            pprof = match parser.value()?.to_str() {
                Some("folded") => Some(false),
                Some("pprof") => Some(true),
                _ => return Err("--format is folded or pprof".into()),
            };
            Ok(true)
        }
        _ => Ok(false),
    })?;
    let Some(sampling) = sampling else {
        return Ok(write!(io::stdout(), "{USAGE}{}", sampling::OPTIONS)?);
    };
    let output = sampling.output.clone().ok_or("say where to write: -o FILE, see --help")?;
    let file = create(&output)?;
    let pprof = pprof.unwrap_or_else(|| {
        let name = output.to_string_lossy();
        [".pb.gz", ".pprof", ".pb"].iter().any(|end| name.ends_with(end))
    });
    let measure = sampling.measure;
    let (profile, _) = sampling.run()?;
    match pprof {
        true => profile.write_pprof(file)?,
        false => profile.write_folded(measure, file)?,
    }
    writeln!(io::stderr(), "wrote {}", output.display())?;
    Ok(())
}

fn create(path: &PathBuf) -> Result<BufWriter<File>, String> {
    let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(BufWriter::new(file))
}
