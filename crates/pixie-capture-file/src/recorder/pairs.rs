//! Tells two views of one connection from two connections.

use pixie_core::id::Transport;
use pixie_core::time::MonotonicTime;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

/// The most pairs of ends that are remembered. Without room, a connection is recorded from both
/// of its ends.
const MAX_PAIRS: usize = 1 << 16;

/// How long a pair is remembered after it was last heard of. A server may come to read what a
/// client has sent when that has gone already.
const MEMORY: Duration = Duration::from_secs(60);

/// Which end of each pair of ends is recorded: the one that was seen first.
#[derive(Default)]
pub(super) struct Pairs {
    told_by: HashMap<(Transport, SocketAddr, SocketAddr), (SocketAddr, MonotonicTime)>,
}

impl Pairs {
    /// True when what is seen from the end `local` is the mirror of what is recorded already.
    pub(super) fn is_mirror(
        &mut self,
        transport: Transport,
        local: SocketAddr,
        remote: SocketAddr,
        now: MonotonicTime,
    ) -> bool {
        let key = (transport, local.min(remote), local.max(remote));
        if let Some((teller, last)) = self.told_by.get_mut(&key)
            && now.since(*last) < MEMORY
        {
            if *teller == local {
                *last = now;
            }
            return *teller != local;
        }
        if self.told_by.len() >= MAX_PAIRS {
            self.told_by.retain(|_, (_, last)| now.since(*last) < MEMORY);
        }
        if self.told_by.len() < MAX_PAIRS {
            self.told_by.insert(key, (local, now));
        }
        false
    }
}
