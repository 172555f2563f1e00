//! Programs for probes on many instructions of a file at once (Linux 6.6), which the loader library
//! cannot load.
//!
//! The kernel lets go of such probes together, after one grace period; of others one by one, each of
//! which takes up to 100 ms, however many wait.

use crate::sys;
use aya::maps::{Map, MapData};
use aya::{Btf, Ebpf};
use aya_obj::Object;
use std::collections::HashSet;
use std::error::Error;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

type BoxError = Box<dyn Error + Send + Sync>;

/// An object whose maps are made already, ready for its programs to be loaded.
pub(crate) struct Prepared {
    object: Object,
    types: OwnedFd,
}

impl Prepared {
    /// Prepares `object`, of which the loader has made the maps of `loaded`.
    pub(crate) fn new(object: &[u8], loaded: &Ebpf, btf: &Btf) -> Result<Self, BoxError> {
        let mut object = Object::parse(object)?;
        let features = aya::features().btf().ok_or("this kernel knows no BTF")?;
        let types = object.fixup_and_sanitize_btf(features)?.ok_or("the object has no BTF")?;
        let types = sys::load_types(&types.to_bytes())?;
        object.relocate_btf(btf)?;
        let sections: HashSet<usize> =
            object.functions.keys().map(|(section, _)| *section).collect();
        let maps = std::mem::take(&mut object.maps);
        let made = loaded.maps().filter_map(|(name, map)| {
            let data = data(map);
            Some((name, data.fd().as_fd().as_raw_fd(), maps.get(name)?))
        });
        object.relocate_maps(made, &sections)?;
        object.relocate_calls(&sections)?;
        Ok(Self { object, types })
    }

    /// Loads one of its programs.
    pub(crate) fn load(&self, name: &str) -> Result<OwnedFd, BoxError> {
        let program = self.object.programs.get(name);
        let program = program.ok_or_else(|| format!("the object has no program {name:?}"))?;
        let function = self.object.functions.get(&program.function_key());
        let function = function.ok_or_else(|| format!("{name}: its code is not there"))?;
        Ok(sys::load_multi_uprobe(name, function, &program.license, self.types.as_fd())?)
    }
}

/// What there is to any kind of map.
fn data(map: &Map) -> &MapData {
    match map {
        Map::Array(data)
        | Map::ArrayOfMaps(data)
        | Map::BloomFilter(data)
        | Map::CgroupArray(data)
        | Map::CgroupStorage(data)
        | Map::CgrpStorage(data)
        | Map::CpuMap(data)
        | Map::DevMap(data)
        | Map::DevMapHash(data)
        | Map::HashMap(data)
        | Map::HashOfMaps(data)
        | Map::InodeStorage(data)
        | Map::LpmTrie(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::PerCpuCgroupStorage(data)
        | Map::PerCpuHashMap(data)
        | Map::PerCpuLruHashMap(data)
        | Map::PerfEventArray(data)
        | Map::ProgramArray(data)
        | Map::Queue(data)
        | Map::ReusePortSockArray(data)
        | Map::RingBuf(data)
        | Map::SockHash(data)
        | Map::SockMap(data)
        | Map::SkStorage(data)
        | Map::Stack(data)
        | Map::StackTraceMap(data)
        | Map::Unsupported(data)
        | Map::XskMap(data) => data,
    }
}
