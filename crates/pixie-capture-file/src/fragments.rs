//! Puts fragments of IP datagrams together (RFC 791, 3.2; RFC 8200, 4.5).

use crate::summary::{Skipped, Summary};
use pixie_core::time::MonotonicTime;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// The most datagrams that are under way at once. One takes at most 64 KiB.
const MAX_DATAGRAMS: usize = 256;

/// How long a datagram waits for its fragments (RFC 8200, 4.5).
const PATIENCE: Duration = Duration::from_secs(60);

/// The most bytes of a datagram: its length is a field of 16 bits.
const MAX_LENGTH: usize = u16::MAX as usize;

/// Which part of which datagram a fragment is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fragment {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) identification: u32,
    /// Where it starts, in bytes.
    pub(crate) offset: usize,
    /// False in the last fragment.
    pub(crate) more: bool,
}

/// Datagrams of which some fragments have come.
#[derive(Default)]
pub(crate) struct Fragments {
    datagrams: HashMap<(IpAddr, IpAddr, u8, u32), Datagram>,
}

/// What has come of a datagram's payload.
struct Datagram {
    bytes: Vec<u8>,
    /// The ranges of `bytes` that have come: `start..end`. They do not touch.
    parts: Vec<(usize, usize)>,
    /// How long it is, once the last fragment has come.
    length: Option<usize>,
    started: MonotonicTime,
    fragments: u64,
}

impl Fragments {
    /// Takes in a fragment. Returns the payload of the datagram when this was its last part.
    pub(crate) fn join(
        &mut self,
        time: MonotonicTime,
        fragment: Fragment,
        payload: &[u8],
        summary: &mut Summary,
    ) -> Option<Vec<u8>> {
        self.give_up_old(time, summary);
        let Fragment { source, destination, protocol, identification, .. } = fragment;
        let id = (source, destination, protocol, identification);
        if !self.datagrams.contains_key(&id) {
            self.make_room(summary);
        }
        let datagram = self.datagrams.entry(id).or_insert_with(|| Datagram::new(time));
        if !datagram.add(fragment.offset, fragment.more, payload) {
            summary.skip(Skipped::MalformedFragment);
            return None;
        }
        if !datagram.is_complete() {
            datagram.fragments += 1;
            summary.fragments_held += 1;
            return None;
        }
        let datagram = self.datagrams.remove(&id)?;
        summary.fragments_held -= datagram.fragments;
        summary.fragments_joined += datagram.fragments;
        Some(datagram.bytes)
    }

    /// Gives up the datagrams that have waited too long.
    fn give_up_old(&mut self, now: MonotonicTime, summary: &mut Summary) {
        self.datagrams.retain(|_, datagram| {
            let keep = now.since(datagram.started) < PATIENCE;
            if !keep {
                datagram.give_up(summary);
            }
            keep
        });
    }

    /// Gives up the oldest datagram if there are as many as there may be.
    fn make_room(&mut self, summary: &mut Summary) {
        if self.datagrams.len() < MAX_DATAGRAMS {
            return;
        }
        let oldest = self.datagrams.iter().min_by_key(|(_, datagram)| datagram.started);
        if let Some(id) = oldest.map(|(id, _)| *id)
            && let Some(datagram) = self.datagrams.remove(&id)
        {
            datagram.give_up(summary);
        }
    }

    /// Gives up all that is under way.
    pub(crate) fn finish(&mut self, summary: &mut Summary) {
        for (_, datagram) in self.datagrams.drain() {
            datagram.give_up(summary);
        }
    }
}

impl Datagram {
    fn new(started: MonotonicTime) -> Self {
        Self { bytes: Vec::new(), parts: Vec::new(), length: None, started, fragments: 0 }
    }

    /// Takes in a fragment; where it overlaps others, it replaces them. False when it contradicts
    /// them.
    fn add(&mut self, start: usize, more: bool, payload: &[u8]) -> bool {
        let end = start + payload.len();
        let beyond = self.length.is_some_and(|length| end > length || (!more && end < length));
        let ends_early = !more && self.bytes.len() > end;
        let ragged = more && !payload.len().is_multiple_of(8);
        if end > MAX_LENGTH || beyond || ends_early || ragged {
            return false;
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        if let Some(place) = self.bytes.get_mut(start..end) {
            place.copy_from_slice(payload);
        }
        if !more {
            self.length = Some(end);
        }
        let mut joined = (start, end);
        self.parts.retain(|&(start, end)| {
            let apart = end < joined.0 || joined.1 < start;
            if !apart {
                joined = (joined.0.min(start), joined.1.max(end));
            }
            apart
        });
        self.parts.push(joined);
        true
    }

    fn is_complete(&self) -> bool {
        self.length.is_some_and(|length| self.parts == [(0, length)])
    }

    fn give_up(&self, summary: &mut Summary) {
        summary.fragments_held -= self.fragments;
        summary.skip_many(Skipped::LoneFragment, self.fragments);
    }
}
