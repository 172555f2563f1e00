//! Standard output that may be closed at any time: `trace | head` ends quietly.

use crate::Notice;
use pixie::{Record, Sink, SinkError};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::mpsc::Sender;

/// Standard output. Tells when nobody reads it any more.
pub(crate) struct Output {
    notify: Sender<Notice>,
}

impl Output {
    pub(crate) fn new(notify: Sender<Notice>) -> Self {
        Self { notify }
    }

    fn noting<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            // When the main thread has gone, it needs no telling.
            let _ = self.notify.send(Notice::OutputClosed);
        }
        result
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.noting(io::stdout().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.noting(io::stdout().flush())
    }
}

/// A line for people for each record.
pub(crate) struct Lines {
    output: Output,
    text: String,
}

impl Lines {
    pub(crate) fn new(output: Output) -> Self {
        Self { output, text: String::new() }
    }
}

impl Sink for Lines {
    fn emit(&mut self, records: &[Record]) -> Result<(), SinkError> {
        self.text.clear();
        for record in records {
            writeln!(self.text, "{record}").map_err(SinkError::new)?;
        }
        self.output.write_all(self.text.as_bytes())?;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(self.output.flush()?)
    }
}
