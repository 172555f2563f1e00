//! Holds the layouts that `abi.rs` assumes against those that the compiler gave the objects, as
//! their BTF (`Documentation/bpf/btf.rst`) tells them.

use super::*;
use object::{Object as _, ObjectSection as _};
use std::collections::HashMap;

const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_ENUM64: u32 = 19;

/// Sizes of structs, and offsets of their members in bytes.
#[derive(Default)]
pub(crate) struct Layouts {
    structs: HashMap<String, (usize, HashMap<String, usize>)>,
}

impl Layouts {
    /// Reads the section `.BTF` of an object.
    pub(crate) fn read(object: &[u8]) -> Self {
        let file = object::File::parse(object).unwrap();
        let btf = file.section_by_name(".BTF").unwrap().data().unwrap();
        let word = |offset: usize| u32_at(btf, offset).unwrap();
        let header = word(4) as usize;
        let types = header + word(8) as usize;
        let strings = header + word(16) as usize;
        let name = |offset: u32| {
            let name = btf[strings + offset as usize..].split(|byte| *byte == 0).next().unwrap();
            String::from_utf8(name.to_vec()).unwrap()
        };
        let mut layouts = Self::default();
        let mut at = types;
        while at < types + word(12) as usize {
            let (info, size) = (word(at + 4), word(at + 8) as usize);
            let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            let members = at + 12;
            if kind == KIND_STRUCT {
                let offsets = (0..count)
                    .map(|index| members + 12 * index)
                    .map(|at| (name(word(at)), (word(at + 8) & 0xff_ffff) as usize / 8))
                    .collect();
                layouts.structs.insert(name(word(at)), (size, offsets));
            }
            at = members
                + match kind {
                    KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
                    KIND_ARRAY => 12,
                    KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => 12 * count,
                    KIND_ENUM | KIND_FUNC_PROTO => 8 * count,
                    _ => 0,
                };
        }
        layouts
    }

    pub(crate) fn size(&self, name: &str) -> usize {
        self.structs.get(name).unwrap_or_else(|| panic!("no struct {name}")).0
    }

    pub(crate) fn offset(&self, name: &str, member: &str) -> usize {
        let members = &self.structs.get(name).unwrap_or_else(|| panic!("no struct {name}")).1;
        *members.get(member).unwrap_or_else(|| panic!("no member {member} in {name}"))
    }
}

macro_rules! objects {
    ($($architecture:literal)+) => {
        [$(
            include_bytes!(concat!("../../prebuilt/", $architecture, "/socket.bpf.o")).as_slice(),
            include_bytes!(concat!("../../prebuilt/", $architecture, "/fentry.bpf.o")).as_slice(),
            include_bytes!(concat!("../../prebuilt/", $architecture, "/kprobe.bpf.o")).as_slice(),
            include_bytes!(concat!("../../prebuilt/", $architecture, "/sysexit.bpf.o")).as_slice(),
        )+]
    };
}

#[test]
fn every_object_has_the_layouts_that_are_read() {
    for object in objects!("x86_64" "aarch64") {
        let layouts = Layouts::read(object);
        for (name, size) in [
            ("event", EVENT_SIZE),
            ("address", ADDRESS_SIZE),
            ("datagram_event", DATAGRAM_SIZE),
            ("open_event", OPEN_SIZE),
            ("open_unix_event", OPEN_UNIX_SIZE),
            ("secure_event", SECURE_SIZE),
            ("settings", size_of::<Settings>()),
            ("counters", 8 * COUNTERS),
            ("account", size_of::<Account>()),
        ] {
            assert_eq!(layouts.size(name), size, "struct {name}");
        }
        for (name, member, offset) in [
            ("event", "kind", 0),
            ("event", "direction", 1),
            ("event", "hole", 2),
            ("event", "flags", 3),
            ("event", "captured", 4),
            ("event", "time", 8),
            ("event", "connection", 16),
            ("event", "position", 24),
            ("event", "length", 28),
            ("event", "other", 32),
            ("address", "bytes", 0),
            ("address", "port", 16),
            ("address", "family", 18),
            ("open_event", "start_time", EVENT_SIZE),
            ("open_event", "cgroup", EVENT_SIZE + 8),
            ("open_event", "pid", EVENT_SIZE + 16),
            ("open_event", "transport", EVENT_SIZE + 20),
            ("open_event", "role", EVENT_SIZE + 21),
            ("open_event", "comm", EVENT_SIZE + 24),
            ("open_event", "local", OPEN_LOCAL),
            ("open_event", "remote", OPEN_REMOTE),
            ("open_unix_event", "local_length", OPEN_SIZE),
            ("open_unix_event", "remote_length", OPEN_SIZE + 4),
            ("open_unix_event", "local_path", OPEN_SIZE + 8),
            ("open_unix_event", "remote_path", OPEN_SIZE + 8 + UNIX_PATH),
            ("secure_event", "start_time", EVENT_SIZE),
            ("secure_event", "cgroup", EVENT_SIZE + 8),
            ("secure_event", "carrier", EVENT_SIZE + 16),
            ("secure_event", "pid", EVENT_SIZE + 24),
            ("secure_event", "target", EVENT_SIZE + 28),
            ("secure_event", "comm", EVENT_SIZE + 32),
            ("counters", "reserved", 0),
            ("counters", "dropped", 8),
            ("counters", "dropped_bytes", 16),
            ("counters", "captured_bytes", 24),
            ("counters", "unmatched", 32),
            ("counters", "unproven", 40),
            ("settings", "message_bytes", std::mem::offset_of!(Settings, message_bytes)),
            ("settings", "shards", std::mem::offset_of!(Settings, shards)),
            ("settings", "filter_pids", std::mem::offset_of!(Settings, filter_pids)),
            ("settings", "filter_cgroups", std::mem::offset_of!(Settings, filter_cgroups)),
            ("settings", "filter_ports", std::mem::offset_of!(Settings, filter_ports)),
            ("settings", "exclude_pids", std::mem::offset_of!(Settings, exclude_pids)),
            ("settings", "exclude_cgroups", std::mem::offset_of!(Settings, exclude_cgroups)),
            ("settings", "include_self", std::mem::offset_of!(Settings, include_self)),
            ("settings", "tls", std::mem::offset_of!(Settings, tls)),
        ] {
            assert_eq!(layouts.offset(name, member), offset, "{name}.{member}");
        }
    }
}
