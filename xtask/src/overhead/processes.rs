//! What processes use, as `/proc` tells it.

use anyhow::{Context, Result};
use std::fs;
use std::time::Duration;

/// `USER_HZ`: a tick of `/proc/PID/stat` is 10 ms on every architecture that Linux has now.
const TICK: Duration = Duration::from_millis(10);

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// CPU time, in user space and in the kernel.
    pub(super) cpu: Duration,
    /// The most memory that it had resident at a time, in KiB (`VmHWM`).
    pub(super) peak_kib: u64,
}

pub(super) fn usage(pid: u32) -> Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold anything; utime and stime are fields 14 and 15.
    let fields = stat.rsplit_once(')').context("no name in stat")?.1;
    let ticks: u32 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u32>().ok())
        .sum();
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
    Ok(Usage { cpu: TICK * ticks, peak_kib: peak.unwrap_or_default() })
}

/// CPU time of several processes together.
pub(super) fn cpu(pids: &[u32]) -> Result<Duration> {
    pids.iter().map(|pid| Ok(usage(*pid)?.cpu)).sum()
}

/// The children of a process.
pub(super) fn children(pid: u32) -> Result<Vec<u32>> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok(list.split_whitespace().filter_map(|child| child.parse().ok()).collect())
}
