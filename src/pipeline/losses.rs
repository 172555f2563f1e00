use indexmap::IndexMap;
use pixie_core::id::ConnectionId;
use pixie_core::record::{Cause, Lost, Stage};
use pixie_core::time::MonotonicTime;
use pixie_core::{Record, Stats};
use rustc_hash::FxBuildHasher;

/// The most losses that are reported apart from each other at once. Beyond, those of the same stage
/// and cause are reported as one that names no connection.
const APART: usize = 64;

/// Losses that have not been reported yet.
///
/// They are summed up and reported now and then, so that a flood of losses does not become a flood
/// of records.
#[derive(Debug, Default)]
pub(super) struct Losses {
    waiting: IndexMap<(Stage, Cause, Option<ConnectionId>), Amount, FxBuildHasher>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Amount {
    count: u64,
    bytes: u64,
}

impl Losses {
    pub(super) fn add(
        &mut self,
        (stage, cause): (Stage, Cause),
        connection: Option<ConnectionId>,
        count: u64,
        bytes: u64,
    ) {
        let mut key = (stage, cause, connection);
        if self.waiting.len() >= APART && !self.waiting.contains_key(&key) {
            key.2 = None;
        }
        let amount = self.waiting.entry(key).or_default();
        amount.count += count;
        amount.bytes += bytes;
    }

    /// Moves what has been summed up into the account and, as records, to `records`.
    pub(super) fn report(
        &mut self,
        time: MonotonicTime,
        stats: &mut Stats,
        records: &mut Vec<Record>,
    ) {
        for ((stage, cause, connection), Amount { count, bytes }) in self.waiting.drain(..) {
            stats.add_lost(stage, cause, count, bytes);
            let lost = Lost::new(time, stage, cause, count, bytes);
            records.push(match connection {
                Some(connection) => lost.on(connection).into(),
                None => lost.into(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_losses_is_a_bounded_number_of_records() {
        let (mut losses, mut stats, mut records) = (Losses::default(), Stats::default(), vec![]);
        for connection in 0..10_000 {
            let kind = (Stage::Stream, Cause::Unobserved);
            losses.add(kind, Some(ConnectionId(connection)), 1, 10);
        }
        losses.report(MonotonicTime(1), &mut stats, &mut records);
        assert_eq!(records.len(), APART + 1);
        assert_eq!(stats.lost_at(Stage::Stream), 10_000);
        let bytes: u64 = records
            .iter()
            .map(|record| match record {
                Record::Lost(lost) => lost.bytes,
                other => panic!("{other} is not a loss"),
            })
            .sum();
        assert_eq!(bytes, 100_000);
    }
}
