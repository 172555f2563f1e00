//! The reference agent: what happens on this machine, live, line by line.
//!
//! ```text
//! cargo build --example trace && sudo target/debug/examples/trace --demo
//! ```

mod arguments;
mod demo;
mod output;

use arguments::{Arguments, Command, Format};
use output::{Lines, Output};
use pixie::sinks::{self, JsonLines};
use pixie::{Session, Tracer};
use pixie_capture_file::Recorder;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// What the main thread waits for.
enum Notice {
    /// Ctrl-C, or SIGTERM.
    Signal,
    /// Nobody reads what we write.
    OutputClosed,
}

fn main() -> ExitCode {
    let result = match arguments::parse() {
        Ok(Command::Help) => {
            io::stdout().write_all(arguments::USAGE.as_bytes()).map_err(Into::into)
        }
        Ok(Command::DemoTraffic) => demo::traffic().map_err(Into::into),
        Ok(Command::Trace(arguments)) => trace(*arguments),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "trace: {error}");
            ExitCode::FAILURE
        }
    }
}

fn trace(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let (notify, notices) = mpsc::channel();
    let Arguments { format, show_stats, duration, demo, record, tracer } = arguments;
    let (tracer, recording) = match record {
        Some(path) => {
            let (recorder, recording) = Recorder::create(&path)?;
            (tracer.through(|source| recorder.tee(source)), Some(recording))
        }
        None => (tracer, None),
    };
    let session = with_output(tracer, format, notify.clone()).start()?;
    // From here on, a signal ends the session in an orderly way.
    watch_signals(notify)?;
    let demo = demo.then(demo::Demo::start).transpose()?;
    writeln!(io::stderr(), "{}\nready", session.report())?;

    wait(&session, &notices, duration, show_stats)?;

    drop(demo);
    let report = session.report().to_string();
    let stats = session.stop()?;
    writeln!(io::stderr(), "{report}\n{stats}")?;
    if let Some(recording) = recording {
        writeln!(io::stderr(), "{}", recording.summary())?;
    }
    Ok(())
}

/// Sends the records to stdout.
fn with_output(tracer: Tracer, format: Format, notify: Sender<Notice>) -> Tracer {
    let output = Output::new(notify);
    match format {
        Format::Lines => tracer.sink(Lines::new(output)),
        Format::Json => tracer.sink(JsonLines::new(output)),
        Format::Quiet => tracer.sink(sinks::each(|_| {})),
    }
}

fn watch_signals(notify: Sender<Notice>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            if notify.send(Notice::Signal).is_err() {
                break;
            }
        }
    })?;
    Ok(())
}

/// Waits until something ends the session. Shows the account each second if that is wanted.
fn wait(
    session: &Session,
    notices: &Receiver<Notice>,
    duration: Option<Duration>,
    show_stats: bool,
) -> io::Result<()> {
    let end = duration.map(|duration| Instant::now() + duration);
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let pause = left.unwrap_or(Duration::MAX).min(Duration::from_secs(1));
        match notices.recv_timeout(pause) {
            Ok(Notice::Signal | Notice::OutputClosed) => return Ok(()),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            return Ok(());
        }
        if show_stats {
            writeln!(io::stderr(), "{}", session.stats())?;
        }
    }
}
