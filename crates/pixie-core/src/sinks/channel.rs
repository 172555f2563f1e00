use crate::{Record, Sink, SinkError};
use crossbeam_channel::{Receiver, Sender, TrySendError};

/// Sends records to another thread, or to an async task that receives from it.
///
/// It never waits: a receiver that is too slow must not stop the session from ending. A record for
/// which the channel has no room is dropped and counted, as is every record once the receiver is
/// gone.
///
/// ```
/// use pixie_core::{sinks::Channel, Sink};
///
/// let (mut sink, records) = Channel::bounded(1024);
/// std::thread::spawn(move || records.iter().for_each(|record| println!("{record}")));
/// sink.emit(&[])?;
/// # Ok::<(), pixie_core::SinkError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Channel {
    sender: Sender<Record>,
}

impl Channel {
    /// A sink that sends to this channel. An unbounded one holds as much memory as its receiver is
    /// late.
    #[must_use]
    pub fn new(sender: Sender<Record>) -> Self {
        Self { sender }
    }

    /// A sink and the receiver of its records; `capacity` is the most records that wait between
    /// them.
    #[must_use]
    pub fn bounded(capacity: usize) -> (Self, Receiver<Record>) {
        let (sender, receiver) = crossbeam_channel::bounded(capacity);
        (Self::new(sender), receiver)
    }
}

impl Sink for Channel {
    fn emit(&mut self, records: &[Record]) -> Result<(), SinkError> {
        let mut full = 0;
        for (taken, record) in records.iter().enumerate() {
            match self.sender.try_send(record.clone()) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => full += 1,
                Err(TrySendError::Disconnected(_)) => {
                    let left = (records.len() - taken) as u64;
                    return Err(SinkError::partial(full + left, "the receiver is gone"));
                }
            }
        }
        match full {
            0 => Ok(()),
            _ => Err(SinkError::partial(full, "the channel is full: its receiver is too slow")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Channel;
    use crate::Sink;
    use crate::sinks::testing::http;

    #[test]
    fn what_finds_no_room_is_counted_and_the_rest_arrives() {
        let (mut sink, receiver) = Channel::bounded(2);
        let batch = [http(1), http(2), http(3), http(4), http(5)];
        let error = sink.emit(&batch).unwrap_err();
        assert_eq!(error.dropped(batch.len()), 3);
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), batch[..2]);
        sink.emit(&batch[4..]).unwrap();
        assert_eq!(receiver.try_recv().unwrap(), batch[4]);
    }

    #[test]
    fn a_receiver_that_is_gone_is_an_error() {
        let (mut sink, receiver) = Channel::bounded(8);
        drop(receiver);
        let error = sink.emit(&[http(1), http(2)]).unwrap_err();
        assert_eq!(error.dropped(2), 2);
        assert!(error.to_string().contains("gone"), "{error}");
    }
}
