//! Loads a backend's object, attaches its programs, and lets go of them again.

use crate::abi::{Account, Settings};
use crate::error::{ProbeError, chain};
use crate::kernel;
use crate::multi::Prepared;
use crate::options::{Attachment, Backend, CaptureOptions, Filter, Uprobes};
use crate::programs::{Attach, Hook, attachments, object, syscall_symbol};
use crate::ring::{Ring, page_size};
use crate::sys;
use crate::tls;
use aya::maps::{self, Array, Map, MapData, MapError};
use aya::programs::cgroup_sock_addr::CgroupSockAddrLink;
use aya::programs::kprobe::KProbeLink;
use aya::programs::links::FdLink;
use aya::programs::{
    BtfTracePoint, CgroupAttachMode, CgroupSockAddr, FExit, KProbe, Program, ProgramError,
    ProgramFd, RawTracePoint, UProbe,
};
use aya::{Btf, Ebpf, EbpfError, EbpfLoader};
use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

type BoxError = Box<dyn Error + Send + Sync>;

/// Programs that are attached, until it is dropped.
pub(crate) struct Loaded {
    backend: Backend,
    ebpf: Ebpf,
    links: Vec<AnyLink>,
    programs: Vec<ProgramFd>,
    pub(crate) rings: Vec<Ring>,
    pub(crate) attachments: Vec<Attachment>,
}

/// What only the programs for TLS use: small where there is none.
const TLS_MAPS: &[&str] = &[
    "tls_sessions",
    "tls_calls",
    "tls_nested",
    "tls_prints",
    "tls_printers",
    "tls_missed",
    "tls_processes",
    "rustls_calls",
    "rustls_reads",
    "rustls_sequences",
    "rustls_turns",
    "transfers_of_threads",
];

/// What keeps a program attached; letting go of it detaches.
enum AnyLink {
    Fd(#[expect(dead_code, reason = "held, not used")] FdLink),
    Cgroup(#[expect(dead_code, reason = "held, not used")] CgroupSockAddrLink),
    Perf(#[expect(dead_code, reason = "held, not used")] KProbeLink),
}

impl Loaded {
    /// Loads and attaches `backend`. An essential program that cannot be attached is an error.
    pub(crate) fn new(
        backend: Backend,
        options: &CaptureOptions,
        btf: &Btf,
    ) -> Result<Self, BoxError> {
        // They keep states in storage on sockets, which Linux lets tracing programs use from 5.11.
        // This is the first long-term release after that; the oldest that is tested is 6.1.
        if backend == Backend::Fentry && !kernel::is_at_least(5, 15) {
            return Err("it needs Linux 5.15 or later".into());
        }
        let sizes = RingSizes::new(options.ring_bytes);
        let settings = settings(options, sizes.shards);
        let mut loader = EbpfLoader::new();
        loader
            .btf(Some(btf))
            .override_global("settings", &settings, true)
            .map_max_entries("rings", sizes.shards);
        if options.tls.is_empty() {
            for map in TLS_MAPS {
                loader.map_max_entries(map, 1);
            }
        }
        let mut ebpf = loader.load(object(backend))?;
        let rings = make_rings(&mut ebpf, sizes)?;
        set_filters(&mut ebpf, &options.filter)?;
        identify(&mut ebpf)?;
        let mut loaded = Self {
            backend,
            ebpf,
            links: Vec::new(),
            programs: Vec::new(),
            rings,
            attachments: Vec::new(),
        };
        for attach in attachments(backend) {
            let result = loaded.attach(attach, btf);
            let refused = result.as_ref().err().map(|error| explain(error.as_ref()));
            loaded.attachments.push(Attachment {
                target: attach.hook.name(),
                purpose: attach.purpose,
                refused,
            });
            if attach.essential {
                result.map_err(|error| format!("{}: {}", attach.hook.name(), explain(&*error)))?;
            }
        }
        Ok(loaded)
    }

    fn attach(&mut self, attach: Attach, btf: &Btf) -> Result<(), BoxError> {
        let program = self
            .ebpf
            .program_mut(attach.program)
            .ok_or_else(|| format!("the object has no program {:?}", attach.program))?;
        let link = match attach.hook {
            Hook::Tracepoint(name) => {
                let program: &mut BtfTracePoint = program.try_into()?;
                program.load(name, btf)?;
                let link = program.attach()?;
                AnyLink::Fd(program.take_link(link)?.into())
            }
            Hook::FunctionExit(name) => {
                let program: &mut FExit = program.try_into()?;
                program.load(name, btf)?;
                let link = program.attach()?;
                AnyLink::Fd(program.take_link(link)?.into())
            }
            Hook::Cgroup(_) => {
                let program: &mut CgroupSockAddr = program.try_into()?;
                program.load()?;
                // Attached by a link, it always stands beside others; the mode must not say so.
                let link = program.attach(root_cgroup()?, CgroupAttachMode::Single)?;
                AnyLink::Cgroup(program.take_link(link)?)
            }
            Hook::FunctionEntry(name) => AnyLink::Perf(attach_probe(program, name)?),
            Hook::SyscallReturn(name) => {
                AnyLink::Perf(attach_probe(program, &syscall_symbol(name))?)
            }
        };
        self.links.push(link);
        let program: &Program =
            self.ebpf.program(attach.program).ok_or("the program has gone from its object")?;
        self.programs.push(program.fd()?.try_clone()?);
        Ok(())
    }

    /// Loads the programs for TLS libraries: such as can be on many instructions at once, where the
    /// kernel has them and nothing else was asked for. That it should, and does not load them, is
    /// worth a note.
    pub(crate) fn tls_programs(
        &mut self,
        uprobes: Uprobes,
        btf: &Btf,
        notes: &mut Vec<String>,
    ) -> Result<tls::Programs, BoxError> {
        match uprobes {
            Uprobes::Perf => return self.single_programs(),
            Uprobes::Multi => return self.multi_programs(btf),
            Uprobes::Auto => {}
        }
        if kernel::is_at_least(6, 6) {
            match self.multi_programs(btf) {
                Ok(programs) => return Ok(programs),
                Err(error) => notes.push(format!(
                    "functions of TLS libraries are probed one by one, and it takes longer to let go \
                     of them: this kernel did not load programs for many at once: {}",
                    chain(&*error)
                )),
            }
        }
        self.single_programs()
    }

    fn single_programs(&mut self) -> Result<tls::Programs, BoxError> {
        let mut programs = HashMap::new();
        for &name in tls::PROGRAMS {
            let program = self
                .ebpf
                .program_mut(name)
                .ok_or_else(|| format!("the object has no program {name:?}"))?;
            let program: &mut UProbe = program.try_into()?;
            program.load().map_err(|error| format!("{name}: {}", chain(&error)))?;
            programs.insert(name, program.fd()?.as_fd().try_clone_to_owned()?);
        }
        Ok(tls::Programs::Single(programs))
    }

    fn multi_programs(&self, btf: &Btf) -> Result<tls::Programs, BoxError> {
        let prepared = Prepared::new(object(self.backend), &self.ebpf, btf)?;
        let load = |&name| match prepared.load(name) {
            Ok(program) => Ok((name, program)),
            Err(error) => Err(format!("{name}: {}", chain(&*error)).into()),
        };
        let programs: HashMap<_, OwnedFd> =
            tls::PROGRAMS.iter().map(load).collect::<Result<_, BoxError>>()?;
        match programs.values().next() {
            Some(any) if sys::attaches_multi_uprobe(any.as_fd()) => {
                Ok(tls::Programs::Multi(programs))
            }
            _ => Err("this kernel has no uprobes on many instructions at once (Linux 6.6)".into()),
        }
    }

    /// Detaches everything. The rings can still be read.
    ///
    /// Detaching waits for the kernel to be done with a probe, up to 100 ms each; they wait side by
    /// side.
    pub(crate) fn detach(&mut self) {
        std::thread::scope(|scope| {
            for link in self.links.drain(..) {
                scope.spawn(move || drop(link));
            }
        });
    }

    /// The account that the programs keep, a slot a CPU.
    pub(crate) fn account(&self) -> Result<Account, BoxError> {
        let map = self.ebpf.map("account").ok_or("the object has no map \"account\"")?;
        let array: Array<&MapData, PodAccount> = Array::try_from(map)?;
        Ok(array.get(&0, 0)?.0)
    }

    /// How often the kernel did not run one of the programs.
    pub(crate) fn missed(&self) -> u64 {
        self.programs.iter().filter_map(|program| sys::recursion_misses(program.as_fd()).ok()).sum()
    }

    /// The map of what is to be known of processes, to write. Programs must be loaded by then.
    pub(crate) fn take_tls_processes(
        &mut self,
    ) -> Result<maps::HashMap<MapData, u32, u8>, BoxError> {
        let map = self.ebpf.take_map("tls_processes").ok_or("the object has no such map")?;
        Ok(maps::HashMap::try_from(map)?)
    }

    /// The map of verdicts, to write.
    pub(crate) fn take_verdicts(&mut self) -> Result<maps::HashMap<MapData, u64, u8>, BoxError> {
        let map = self.ebpf.take_map("verdicts").ok_or("the object has no map \"verdicts\"")?;
        Ok(maps::HashMap::try_from(map)?)
    }

    /// Has the programs pass over this process from its next transfer on.
    pub(crate) fn exclude(&mut self, pid: u32) -> Result<(), BoxError> {
        insert(&mut self.ebpf, "pids", pid, 0)
    }

    /// The opposite, for when the pid may be another process's.
    pub(crate) fn include(&mut self, pid: u32) {
        if let Some(map) = self.ebpf.map_mut("pids")
            && let Ok(mut map) = maps::HashMap::<_, u32, u8>::try_from(map)
        {
            // It not being there is fine.
            drop(map.remove(&pid));
        }
    }
}

/// Attaches a kprobe or kretprobe to one more function.
fn attach_probe(program: &mut Program, function: &str) -> Result<KProbeLink, BoxError> {
    let program: &mut KProbe = program.try_into()?;
    match program.load() {
        Ok(()) | Err(ProgramError::AlreadyLoaded) => {}
        Err(error) => return Err(error.into()),
    }
    let link = program.attach(function, 0)?;
    Ok(program.take_link(link)?)
}

/// How many rings of which size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RingSizes {
    shards: u32,
    bytes: u32,
}

impl RingSizes {
    /// A ring a CPU, but none smaller than 256 KiB if fewer would do: `total` bytes together.
    fn new(total: usize) -> Self {
        const SMALLEST: usize = 256 << 10;
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = cpus.min(total / SMALLEST).max(1);
        let bytes = (total / shards).clamp(page_size(), 1 << 30).next_power_of_two();
        Self { shards: shards as u32, bytes: bytes as u32 }
    }
}

fn make_rings(ebpf: &mut Ebpf, sizes: RingSizes) -> Result<Vec<Ring>, BoxError> {
    let failed = |source| ProbeError::Ring { bytes: sizes.bytes, source };
    let Some(Map::ArrayOfMaps(outer)) = ebpf.map("rings") else {
        return Err("the object has no array of maps \"rings\"".into());
    };
    let mut rings = Vec::new();
    for shard in 0..sizes.shards {
        let ring: OwnedFd = sys::create_ring(sizes.bytes).map_err(failed)?;
        sys::put_map(outer.fd().as_fd(), shard, ring.as_fd()).map_err(failed)?;
        rings.push(Ring::new(ring, sizes.bytes).map_err(failed)?);
    }
    Ok(rings)
}

fn settings(options: &CaptureOptions, shards: u32) -> PodSettings {
    let Filter { pids, cgroups, ports, exclude_pids, exclude_cgroups, exclude_executables } =
        &options.filter;
    PodSettings(Settings {
        message_bytes: options.message_bytes.min(1 << 30),
        shards,
        filter_pids: (!pids.is_empty()).into(),
        filter_cgroups: (!cgroups.is_empty()).into(),
        filter_ports: (!ports.is_empty()).into(),
        exclude_pids: (!exclude_pids.is_empty() || !exclude_executables.is_empty()).into(),
        exclude_cgroups: (!exclude_cgroups.is_empty()).into(),
        include_self: options.include_self.into(),
        tls: (!options.tls.is_empty()).into(),
        _pad: 0,
    })
}

fn set_filters(ebpf: &mut Ebpf, filter: &Filter) -> Result<(), BoxError> {
    for (pids, wanted) in [(&filter.pids, 1), (&filter.exclude_pids, 0)] {
        for pid in pids {
            insert(ebpf, "pids", pid.0, wanted)?;
        }
    }
    for (cgroups, wanted) in [(&filter.cgroups, 1), (&filter.exclude_cgroups, 0)] {
        for cgroup in cgroups {
            insert(ebpf, "cgroups", cgroup.0, wanted)?;
        }
    }
    for port in &filter.ports {
        insert(ebpf, "ports", *port, 1)?;
    }
    Ok(())
}

pub(crate) fn insert<K: aya::Pod>(
    ebpf: &mut Ebpf,
    map: &'static str,
    key: K,
    value: u8,
) -> Result<(), BoxError> {
    let map = ebpf.map_mut(map).ok_or_else(|| format!("the object has no map {map:?}"))?;
    maps::HashMap::<_, K, u8>::try_from(map)?.insert(key, value, 0)?;
    Ok(())
}

/// Has a program note which process this is: in a pid namespace we do not know it ourselves.
pub(crate) fn identify(ebpf: &mut Ebpf) -> Result<(), BoxError> {
    let program = ebpf.program_mut("identify").ok_or("the object has no program \"identify\"")?;
    let program: &mut RawTracePoint = program.try_into()?;
    program.load()?;
    sys::run_once(program.fd()?.as_fd())?;
    program.unload()?;
    Ok(())
}

/// The root of the cgroup hierarchy, version 2. Where both versions are in use it is mounted aside.
fn root_cgroup() -> Result<File, BoxError> {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .into_iter()
        .filter(|root| Path::new(root).join("cgroup.controllers").exists())
        .find_map(|root| File::open(root).ok())
        .ok_or_else(|| "no cgroup hierarchy of version 2 is mounted".into())
}

/// An error in words that say what to do, where that is known.
fn explain(error: &(dyn Error + 'static)) -> String {
    let text = chain(error);
    let hint = match errno(error) {
        Some(libc::EPERM) => " (this kernel does not permit this kind of program)",
        Some(libc::ENOENT) => " (this kernel does not have it)",
        _ => "",
    };
    format!("{text}{hint}")
}

/// The error number at the bottom of it, if there is one.
fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.raw_os_error();
        }
        current = error.source();
    }
    None
}

/// True when the kernel refused for want of locked memory.
pub(crate) fn is_memory_lock(error: &(dyn Error + 'static)) -> bool {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(MapError::CreateError { io_error, .. }) = error.downcast_ref::<MapError>() {
            return io_error.raw_os_error() == Some(libc::EPERM);
        }
        if let Some(EbpfError::MapError(MapError::CreateError { io_error, .. })) =
            error.downcast_ref::<EbpfError>()
        {
            return io_error.raw_os_error() == Some(libc::EPERM);
        }
        current = error.source();
    }
    false
}

#[repr(transparent)]
#[derive(Clone, Copy)]
struct PodSettings(Settings);

// SAFETY: a `repr(C)` struct of integers without padding of the compiler's: any bytes are valid.
unsafe impl aya::Pod for PodSettings {}

#[repr(transparent)]
#[derive(Clone, Copy)]
struct PodAccount(Account);

// SAFETY: an array of integers: any bytes are valid.
unsafe impl aya::Pod for PodAccount {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_powers_of_two_and_not_too_small() {
        let sizes = RingSizes::new(8 << 20);
        assert!(sizes.bytes.is_power_of_two());
        assert!(sizes.bytes as usize * sizes.shards as usize >= 8 << 20);
        assert_eq!(RingSizes::new(1), RingSizes { shards: 1, bytes: page_size() as u32 });
    }
}
