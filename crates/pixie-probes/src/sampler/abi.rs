//! What passes between the profiler's programs and user space: the mirror of
//! `bpf/include/profiler/abi.h`. A test holds the two against each other by the objects' BTF.

/// `MAX_INTERRUPTED`.
pub(crate) const MAX_INTERRUPTED: usize = 4;
/// `CHUNK_ROWS`.
pub(crate) const CHUNK_ROWS: u32 = 65536;
/// `ENDS`.
pub(crate) const ENDS: usize = 10;
/// `SAMPLE_BLOCKED`.
pub(crate) const SAMPLE_BLOCKED: u8 = 1;
/// `NEWS_PROCESS`.
pub(crate) const NEWS_PROCESS: u32 = 1;
/// `NEWS_ADDRESS`.
pub(crate) const NEWS_ADDRESS: u32 = 2;
/// `PROCESS_KNOWN`.
pub(crate) const PROCESS_KNOWN: u32 = 1;
/// `PROCESS_HIDDEN`.
pub(crate) const PROCESS_HIDDEN: u32 = 2;

/// Structs of integers without padding of the compiler's: any bytes are valid.
macro_rules! plain {
    ($($(#[$doc:meta])* struct $name:ident { $($field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[repr(C)]
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
            pub(crate) struct $name {
                $(pub(crate) $field: $type,)*
            }

            // SAFETY: a `repr(C)` struct of integers without padding: any bytes are valid.
            unsafe impl aya::Pod for $name {}
        )*
    };
}

plain! {
    /// `struct stack_key`.
    struct StackKey {
        hash: u64,
        pid: u32,
        tid: u32,
        image: u32,
        end: u8,
        kind: u8,
        pad: u16,
    }

    /// `struct stack_count`.
    struct StackCount {
        count: u64,
        blocked: u64,
    }

    /// `struct stack_event`, which the frames follow.
    struct StackEvent {
        key: StackKey,
        start_time: u64,
        cgroup: u64,
        comm: [u8; 16],
        kernel: u16,
        user: u16,
        interrupted: [u16; MAX_INTERRUPTED],
        interruptions: u8,
        generation: u8,
        pad: u16,
    }

    /// `struct news`.
    struct News {
        mm: u64,
        pid: u32,
        kind: u32,
    }

    /// `struct process`.
    struct Process {
        mm: u64,
        asked: u64,
        arguments: u64,
        first: u32,
        count: u32,
        image: u32,
        state: u32,
    }

    /// `struct mapping`.
    struct Mapping {
        start: u64,
        end: u64,
        bias: u64,
        table: u32,
        pad: u32,
    }

    /// `struct table`.
    struct Table {
        base: u64,
        first: u32,
        pages: u32,
    }

    /// `struct page`.
    struct Page {
        rows: u32,
        chunk: u16,
        start: u16,
    }

    /// `struct row`.
    struct Row {
        pc: u16,
        rule: u16,
    }

    /// `struct rule`.
    struct Rule {
        offset: i32,
        second: i32,
        fp_offset: i16,
        ra_offset: i16,
        cfa: u8,
        fp: u8,
        ra: u8,
        cfa_register: u8,
    }

    /// `struct tallies`.
    struct Tallies {
        samples: u64,
        lost_table_full: u64,
        by_frame_pointer: u64,
        processes_full: u64,
        news_lost: u64,
        blocked_lost: u64,
        idle: u64,
        ends: [u64; ENDS],
    }

    /// `struct control`.
    struct Control {
        generation: u32,
        running: [u32; 2],
        pad: u32,
    }

    /// `struct profiler_settings`.
    struct Settings {
        off_cpu_threshold: u64,
        filter_pids: u8,
        filter_cgroups: u8,
        exclude_pids: u8,
        exclude_cgroups: u8,
        include_self: u8,
        per_thread: u8,
        pad: u16,
    }
}

/// Reads a plain struct from the start of `bytes`.
pub(crate) fn read<T: aya::Pod>(bytes: &[u8]) -> Option<(T, &[u8])> {
    let (head, rest) = bytes.split_at_checked(size_of::<T>())?;
    // SAFETY: there are as many bytes as the type has, and any bytes are a valid value of it.
    Some((unsafe { head.as_ptr().cast::<T>().read_unaligned() }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::layout::Layouts;
    use std::mem::offset_of;

    #[test]
    fn the_objects_have_the_layouts_that_are_read() {
        let objects: [&[u8]; 2] = [
            include_bytes!("../../prebuilt/x86_64/profiler.bpf.o"),
            include_bytes!("../../prebuilt/aarch64/profiler.bpf.o"),
        ];
        for layouts in objects.map(Layouts::read) {
            for (name, size) in [
                ("stack_key", size_of::<StackKey>()),
                ("stack_count", size_of::<StackCount>()),
                ("stack_event", size_of::<StackEvent>()),
                ("news", size_of::<News>()),
                ("process", size_of::<Process>()),
                ("mapping", size_of::<Mapping>()),
                ("table", size_of::<Table>()),
                ("page", size_of::<Page>()),
                ("row", size_of::<Row>()),
                ("chunk", 4 * CHUNK_ROWS as usize),
                ("rule", size_of::<Rule>()),
                ("tallies", size_of::<Tallies>()),
                ("control", size_of::<Control>()),
                ("profiler_settings", size_of::<Settings>()),
            ] {
                assert_eq!(layouts.size(name), size, "struct {name}");
            }
            for (name, member, offset) in [
                ("stack_key", "image", offset_of!(StackKey, image)),
                ("stack_key", "end", offset_of!(StackKey, end)),
                ("stack_key", "kind", offset_of!(StackKey, kind)),
                ("stack_event", "start_time", offset_of!(StackEvent, start_time)),
                ("stack_event", "cgroup", offset_of!(StackEvent, cgroup)),
                ("stack_event", "comm", offset_of!(StackEvent, comm)),
                ("stack_event", "kernel", offset_of!(StackEvent, kernel)),
                ("stack_event", "user", offset_of!(StackEvent, user)),
                ("stack_event", "interrupted", offset_of!(StackEvent, interrupted)),
                ("stack_event", "interruptions", offset_of!(StackEvent, interruptions)),
                ("stack_event", "generation", offset_of!(StackEvent, generation)),
                ("news", "pid", offset_of!(News, pid)),
                ("news", "kind", offset_of!(News, kind)),
                ("process", "asked", offset_of!(Process, asked)),
                ("process", "arguments", offset_of!(Process, arguments)),
                ("process", "first", offset_of!(Process, first)),
                ("process", "image", offset_of!(Process, image)),
                ("process", "state", offset_of!(Process, state)),
                ("mapping", "bias", offset_of!(Mapping, bias)),
                ("mapping", "table", offset_of!(Mapping, table)),
                ("table", "first", offset_of!(Table, first)),
                ("table", "pages", offset_of!(Table, pages)),
                ("page", "chunk", offset_of!(Page, chunk)),
                ("page", "start", offset_of!(Page, start)),
                ("row", "rule", offset_of!(Row, rule)),
                ("rule", "second", offset_of!(Rule, second)),
                ("rule", "fp_offset", offset_of!(Rule, fp_offset)),
                ("rule", "ra_offset", offset_of!(Rule, ra_offset)),
                ("rule", "cfa", offset_of!(Rule, cfa)),
                ("rule", "fp", offset_of!(Rule, fp)),
                ("rule", "ra", offset_of!(Rule, ra)),
                ("rule", "cfa_register", offset_of!(Rule, cfa_register)),
                ("tallies", "by_frame_pointer", offset_of!(Tallies, by_frame_pointer)),
                ("tallies", "ends", offset_of!(Tallies, ends)),
                ("control", "running", offset_of!(Control, running)),
                ("profiler_settings", "filter_pids", offset_of!(Settings, filter_pids)),
                ("profiler_settings", "per_thread", offset_of!(Settings, per_thread)),
            ] {
                assert_eq!(layouts.offset(name, member), offset, "{name}.{member}");
            }
        }
    }
}
