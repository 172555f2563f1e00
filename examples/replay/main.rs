//! Shows the exchanges in a packet capture.
//!
//! ```text
//! cargo run --example replay -- --json traffic.pcapng
//! ```

mod arguments;
mod output;

use arguments::{Arguments, Command};
use output::Output;
use pixie::event::EventSource as _;
use pixie::protocols::stream::StreamLimits;
use pixie::sinks::{JsonLines, try_each};
use pixie::{ConnectionLimits, Record, Replay};
use pixie_capture_file::CaptureFile;
use std::error::Error;
use std::io::{self, BufWriter, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn main() -> ExitCode {
    let result = match arguments::parse() {
        Ok(Command::Help) => {
            io::stdout().write_all(arguments::USAGE.as_bytes()).map_err(Into::into)
        }
        Ok(Command::Replay(arguments)) => replay(&arguments),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "replay: {error}");
            ExitCode::FAILURE
        }
    }
}

fn replay(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut capture = match arguments.file.to_str() {
        Some("-") => CaptureFile::new(io::stdin())?,
        _ => CaptureFile::open(arguments.file.as_ref())?,
    };
    let output_closed = Arc::new(AtomicBool::new(false));
    let output = Output::new(&output_closed);

    let mut player = with_output(pipeline(arguments), arguments.json, output).start()?;
    while !output_closed.load(Ordering::Relaxed) && player.play(&mut capture, false) > 0 {}
    capture.detach();
    player.play(&mut capture, true);
    let stats = player.finish();

    if arguments.show_stats {
        writeln!(io::stderr(), "{}{stats}", capture.summary())?;
    }
    let not_written = stats.sinks.iter().find_map(|sink| sink.last_error.clone());
    match (capture.take_error(), not_written) {
        (Some(error), _) => Err(error.into()),
        (None, Some(error)) => Err(error.into()),
        (None, None) => Ok(()),
    }
}

fn pipeline(arguments: &Arguments) -> Replay {
    // A retransmission can take seconds, and what will never come is told by the capture.
    let stream_limits =
        StreamLimits { held_bytes: 1 << 20, held_segments: 1024, held_for: Duration::MAX };
    // The capture says when connections end.
    let connection_limits = ConnectionLimits::default().with_idle(Duration::MAX);
    let replay = Replay::new().stream_limits(stream_limits).connection_limits(connection_limits);
    arguments
        .decode
        .iter()
        .fold(replay, |replay, (port, protocol)| replay.decode_as(*port, protocol.as_str()))
}

/// Sends the records to `output`.
fn with_output(replay: Replay, json: bool, output: Output) -> Replay {
    let mut output = BufWriter::new(output);
    match json {
        true => replay.sink(JsonLines::new(output)),
        false => replay.sink(try_each(move |record: &Record| writeln!(output, "{record}"))),
    }
}
