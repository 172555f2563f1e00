use crate::{Record, Sink, SinkError};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Keeps the latest records in memory, to be read while the session runs and after it: for tests,
/// and as a flight recorder.
///
/// ```
/// use pixie_core::{sinks::Memory, Sink};
///
/// let (mut sink, records) = Memory::new(10_000);
/// sink.emit(&[])?;
/// assert_eq!(records.len(), 0);
/// # Ok::<(), pixie_core::SinkError>(())
/// ```
#[derive(Debug)]
pub struct Memory {
    handle: MemoryHandle,
}

/// Reads what a [`Memory`] keeps. Clones read the same records.
#[derive(Clone, Debug)]
pub struct MemoryHandle {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug)]
struct Kept {
    records: VecDeque<Record>,
    capacity: usize,
    dropped: u64,
}

impl Memory {
    /// A sink that keeps `capacity` records at most, and a handle to read them with. When there
    /// are more, the oldest goes, and is counted.
    #[must_use]
    pub fn new(capacity: usize) -> (Self, MemoryHandle) {
        let kept = Kept { records: VecDeque::new(), capacity, dropped: 0 };
        let handle = MemoryHandle { kept: Arc::new(Mutex::new(kept)) };
        (Self { handle: handle.clone() }, handle)
    }
}

impl MemoryHandle {
    /// Copies of the records that are kept, oldest first.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.lock().records.iter().cloned().collect()
    }

    /// Takes the records that are kept out of the sink, oldest first.
    #[must_use]
    pub fn take(&self) -> Vec<Record> {
        std::mem::take(&mut self.lock().records).into()
    }

    /// How many records are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().records.len()
    }

    /// True when no record is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many records had to go because there were more than the sink keeps.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Nothing is left half done by whoever panicked while holding it.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Memory {
    fn emit(&mut self, records: &[Record]) -> Result<(), SinkError> {
        let mut kept = self.handle.lock();
        for record in records {
            if kept.records.len() == kept.capacity {
                kept.dropped += 1;
                if kept.records.pop_front().is_none() {
                    continue;
                }
            }
            kept.records.push_back(record.clone());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Memory;
    use crate::Sink;
    use crate::sinks::testing::http;

    #[test]
    fn the_latest_are_kept_and_the_others_counted() {
        let (mut sink, handle) = Memory::new(2);
        sink.emit(&[http(1), http(2), http(3)]).unwrap();
        assert_eq!(handle.records(), [http(2), http(3)]);
        assert_eq!(handle.dropped(), 1);
        assert_eq!(handle.take(), [http(2), http(3)]);
        sink.emit(&[http(4)]).unwrap();
        assert_eq!((handle.len(), handle.dropped()), (1, 1));
    }

    #[test]
    fn no_capacity_keeps_nothing() {
        let (mut sink, handle) = Memory::new(0);
        sink.emit(&[http(1), http(2)]).unwrap();
        assert!(handle.is_empty());
        assert_eq!(handle.dropped(), 2);
    }
}
