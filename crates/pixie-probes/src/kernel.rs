//! What the kernel and our privileges allow, found out before anything is loaded.

use crate::error::ProbeError;
use aya::{Btf, Endianness};
use memmap2::MmapMut;
use procfs::process::Process;
use std::fs;
use std::io::{self, Read as _};

const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";
const LOCKDOWN_PATH: &str = "/sys/kernel/security/lockdown";
/// Ring buffers, bounded loops and capabilities of BPF's own came with 5.8.
const OLDEST: (u32, u32) = (5, 8);

/// `include/uapi/linux/capability.h`.
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// The kernel's release, as `uname -r` shows it.
pub(crate) fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".to_owned(), |release| release.trim().to_owned())
}

/// Whether the kernel has this version or a later one; true when its release cannot be read.
pub(crate) fn is_at_least(major: u32, minor: u32) -> bool {
    version().is_none_or(|version| version >= (major, minor, 0))
}

/// The kernel's version: 6, 1 and 18, say; `None` when its release cannot be read.
pub(crate) fn version() -> Option<(u32, u32, u32)> {
    version_of(&release())
}

/// Says what stands in the way, if anything does.
pub(crate) fn check() -> Result<(), ProbeError> {
    let release = release();
    if !is_at_least(OLDEST.0, OLDEST.1) {
        return Err(ProbeError::KernelTooOld { release });
    }
    // Without /proc nothing can be told: let the kernel decide.
    let effective = Process::myself().and_then(|process| process.status());
    let missing = missing_capabilities(effective.map_or(u64::MAX, |status| status.capeff));
    if !missing.is_empty() {
        return Err(ProbeError::NotPermitted { missing: missing.join(" and ") });
    }
    fs::File::open(BTF_PATH).map_err(no_btf)?;
    if is_confidential(&fs::read_to_string(LOCKDOWN_PATH).unwrap_or_default()) {
        return Err(ProbeError::LockedDown);
    }
    Ok(())
}

/// The kernel's own types.
///
/// They are read into pages of their own, which go back to the system at once: an allocator keeps
/// what large, short-lived buffers leave behind.
pub(crate) fn types() -> Result<Btf, ProbeError> {
    let mut file = fs::File::open(BTF_PATH).map_err(no_btf)?;
    let length = file.metadata().map_err(no_btf)?.len();
    let length = usize::try_from(length).map_err(|error| no_btf(io::Error::other(error)))?;
    let mut bytes = MmapMut::map_anon(length).map_err(no_btf)?;
    file.read_exact(&mut bytes).map_err(no_btf)?;
    Btf::parse(&bytes, Endianness::default()).map_err(|error| ProbeError::Kernel {
        action: "reading the kernel's type information",
        source: error.into(),
    })
}

/// Whether the kernel tells its own types.
pub(crate) fn has_types() -> Result<(), ProbeError> {
    fs::File::open(BTF_PATH).map(drop).map_err(no_btf)
}

fn no_btf(error: io::Error) -> ProbeError {
    ProbeError::NoBtf { path: BTF_PATH, source: error.into() }
}

/// The version in a release such as `6.1.0-18-cloud-amd64`.
fn version_of(release: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some((major, minor, numbers.next().and_then(Result::ok).unwrap_or(0)))
}

/// What the effective capabilities lack.
fn missing_capabilities(effective: u64) -> Vec<&'static str> {
    let has = |capability: u32| effective & (1 << capability) != 0;
    [(CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON")]
        .into_iter()
        .filter(|(capability, _)| !has(*capability) && !has(CAP_SYS_ADMIN))
        .map(|(_, name)| name)
        .collect()
}

/// The mode in force stands in brackets: `none integrity [confidentiality]`.
fn is_confidential(lockdown: &str) -> bool {
    lockdown.contains("[confidentiality]")
}

/// The CPUs that are online: `0-3,5`.
pub(crate) fn online_cpus() -> io::Result<Vec<u32>> {
    let text = fs::read_to_string("/sys/devices/system/cpu/online")?;
    Ok(cpus(text.trim()))
}

fn cpus(list: &str) -> Vec<u32> {
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<u32>().ok()?..=last.parse().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read() {
        assert_eq!(version_of("6.12.43-18-cloud-amd64"), Some((6, 12, 43)));
        assert_eq!(version_of("5.10-rc1"), Some((5, 10, 0)));
        assert_eq!(version_of("unknown"), None);
    }

    #[test]
    fn capabilities_are_missed_by_name() {
        assert_eq!(missing_capabilities(0), ["CAP_BPF", "CAP_PERFMON"]);
        assert_eq!(missing_capabilities(1 << CAP_BPF), ["CAP_PERFMON"]);
        assert_eq!(missing_capabilities(1 << CAP_BPF | 1 << CAP_PERFMON), [""; 0]);
        assert_eq!(missing_capabilities(1 << CAP_SYS_ADMIN), [""; 0]);
    }

    #[test]
    fn only_confidentiality_is_in_the_way() {
        assert!(is_confidential("none integrity [confidentiality]"));
        assert!(!is_confidential("none [integrity] confidentiality"));
    }

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(cpus("0-3,5"), [0, 1, 2, 3, 5]);
        assert_eq!(cpus("0"), [0]);
        assert_eq!(cpus(""), [0; 0]);
        assert_eq!(cpus("x,7"), [7]);
    }
}
