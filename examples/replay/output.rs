//! Standard output that may be closed at any time: `replay FILE | head` ends quietly.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Standard output. Once nobody reads it, it takes everything and says so.
pub(crate) struct Output {
    closed: Arc<AtomicBool>,
}

impl Output {
    /// Sets `closed` when nobody reads it any more.
    pub(crate) fn new(closed: &Arc<AtomicBool>) -> Self {
        Self { closed: Arc::clone(closed) }
    }

    fn or_closed<T>(&self, result: io::Result<T>, otherwise: T) -> io::Result<T> {
        match result {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed.store(true, Ordering::Relaxed);
                Ok(otherwise)
            }
            result => result,
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.or_closed(io::stdout().write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.or_closed(io::stdout().flush(), ())
    }
}
