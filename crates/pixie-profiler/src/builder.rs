//! Builds unwind tables of large files on a thread of its own, so that those of others need not wait.

use crate::unwind::{UnwindError, unwind_table_unless};
use pixie_probes::sampler::UnwindTable;
use pixie_symbols::ElfFile;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};
use std::thread::JoinHandle;

/// Builds one table at a time: what comes next is chosen when that is done.
pub(crate) struct Builder {
    files: Option<SyncSender<ElfFile>>,
    tables: Receiver<Result<UnwindTable, UnwindError>>,
    /// The number of the file that it is at work on.
    busy: Option<usize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Builder {
    /// Starts the thread. Once `stop` is set, what it is at work on comes to nothing.
    pub(crate) fn start(stop: Arc<AtomicBool>) -> io::Result<Self> {
        let (give, files) = mpsc::sync_channel::<ElfFile>(1);
        let (done, tables) = mpsc::sync_channel(1);
        let stopped = stop.clone();
        let thread =
            std::thread::Builder::new().name("pixie-tables".to_owned()).spawn(move || {
                for file in files {
                    if done.send(unwind_table_unless(&file, &stopped)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self { files: Some(give), tables, busy: None, stop, thread: Some(thread) })
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy.is_some()
    }

    /// Gives it a file to do next. False when its thread has ended, which it does not by itself.
    pub(crate) fn give(&mut self, number: usize, file: ElfFile) -> bool {
        let given = self.files.as_ref().is_some_and(|files| files.try_send(file).is_ok());
        self.busy = given.then_some(number);
        given
    }

    /// The table that it was at work on, and the number of its file, once it is done.
    pub(crate) fn take(&mut self) -> Option<(usize, Result<UnwindTable, UnwindError>)> {
        let number = self.busy?;
        let table = match self.tables.try_recv() {
            Ok(table) => table,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err(UnwindError::Stopped),
        };
        self.busy = None;
        Some((number, table))
    }
}

impl Drop for Builder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.files = None;
        if let Some(thread) = self.thread.take() {
            // If it panicked there is nothing to be done about it here.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn ours() -> ElfFile {
        ElfFile::open(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn a_table_comes_back_with_the_number_of_its_file() {
        let mut builder = Builder::start(Arc::default()).unwrap();
        assert!(!builder.is_busy() && builder.take().is_none());
        assert!(builder.give(7, ours()));
        let (number, table) = loop {
            if let Some(built) = builder.take() {
                break built;
            }
            assert!(builder.is_busy());
            std::thread::sleep(Duration::from_millis(1));
        };
        assert_eq!(number, 7);
        assert!(!table.unwrap().rows.is_empty());
        assert!(!builder.is_busy());
    }

    #[test]
    fn what_is_stopped_comes_to_nothing() {
        let stop = Arc::new(AtomicBool::new(true));
        let built = unwind_table_unless(&ours(), &stop);
        assert!(matches!(built, Err(UnwindError::Stopped)));
        drop(Builder::start(stop).unwrap());
    }
}
