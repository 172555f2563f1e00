//! A file that is written by a thread of its own.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The most chunks that wait to be written.
const QUEUE: usize = 64;

/// How long the end of the recording waits for a slow disk.
const PATIENCE: Duration = Duration::from_secs(3);

/// Takes chunks without ever waiting.
pub(super) struct Background {
    chunks: Option<SyncSender<Vec<u8>>>,
    /// What became of it.
    outcome: Receiver<io::Result<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What became of a chunk.
pub(super) enum Offered {
    Taken,
    /// There are too many before it.
    Refused,
    /// Nothing more is written, and why.
    Failed(io::Error),
}

impl Background {
    pub(super) fn start(file: File) -> io::Result<Self> {
        let (chunks, queue) = sync_channel(QUEUE);
        let (tell, outcome) = sync_channel(1);
        let thread = thread::Builder::new().name("pixie-recorder".to_owned()).spawn(move || {
            // Whoever would be told may have gone.
            let _ = tell.send(write_all(file, &queue));
        })?;
        Ok(Self { chunks: Some(chunks), outcome, thread: Some(thread) })
    }

    pub(super) fn offer(&mut self, chunk: Vec<u8>) -> Offered {
        let Some(chunks) = &self.chunks else { return Offered::Refused };
        match chunks.try_send(chunk) {
            Ok(()) => Offered::Taken,
            Err(TrySendError::Full(_)) => Offered::Refused,
            Err(TrySendError::Disconnected(_)) => Offered::Failed(
                self.finish().err().unwrap_or_else(|| io::Error::other("its thread has ended")),
            ),
        }
    }

    /// Waits until all is written, for a while.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if self.chunks.take().is_none() {
            return Ok(());
        }
        match self.outcome.recv_timeout(PATIENCE) {
            Ok(outcome) => {
                if let Some(thread) = self.thread.take() {
                    // It has said its last.
                    let _ = thread.join();
                }
                outcome
            }
            Err(RecvTimeoutError::Timeout) => Err(io::ErrorKind::TimedOut.into()),
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("its thread panicked")),
        }
    }
}

fn write_all(mut file: File, queue: &Receiver<Vec<u8>>) -> io::Result<()> {
    queue.iter().try_for_each(|chunk| file.write_all(&chunk))
}
