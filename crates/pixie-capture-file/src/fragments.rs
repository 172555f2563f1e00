//! Puts fragments of IP datagrams together (RFC 791, 3.2; RFC 8200, 4.5).

use crate::summary::{Skipped, Summary};
use etherparse::defrag::IpDefragBuf;
use etherparse::{IpFragOffset, IpNumber};
use pixie_core::time::MonotonicTime;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// The most datagrams that are under way at once. One takes at most 64 KiB.
const MAX_DATAGRAMS: usize = 256;

/// How long a datagram waits for its fragments (RFC 8200, 4.5).
const PATIENCE: Duration = Duration::from_secs(60);

/// Which part of which datagram a fragment is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fragment {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: IpNumber,
    pub(crate) identification: u32,
    pub(crate) offset: IpFragOffset,
    /// False in the last fragment.
    pub(crate) more: bool,
}

/// Datagrams of which some fragments have come.
#[derive(Default)]
pub(crate) struct Fragments {
    datagrams: HashMap<(IpAddr, IpAddr, u8, u32), Datagram>,
}

struct Datagram {
    buffer: IpDefragBuf,
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
        let id = (source, destination, protocol.0, identification);
        if !self.datagrams.contains_key(&id) {
            self.make_room(summary);
        }
        let datagram = self.datagrams.entry(id).or_insert_with(|| Datagram {
            buffer: IpDefragBuf::new(protocol, Vec::new(), Vec::new()),
            started: time,
            fragments: 0,
        });
        if datagram.buffer.add(fragment.offset, fragment.more, payload).is_err() {
            summary.skip(Skipped::MalformedFragment);
            return None;
        }
        if !datagram.buffer.is_complete() {
            datagram.fragments += 1;
            summary.fragments_held += 1;
            return None;
        }
        let datagram = self.datagrams.remove(&id)?;
        summary.fragments_held -= datagram.fragments;
        summary.fragments_joined += datagram.fragments;
        Some(datagram.buffer.take_bufs().0)
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
    fn give_up(&self, summary: &mut Summary) {
        summary.fragments_held -= self.fragments;
        summary.skip_many(Skipped::LoneFragment, self.fragments);
    }
}
