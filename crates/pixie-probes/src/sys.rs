//! The system calls that the loader library does not offer.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_PROG_TEST_RUN: libc::c_int = 10;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_MAP_LOOKUP_AND_DELETE_BATCH: libc::c_int = 25;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_RINGBUF: u32 = 27;
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// The start of `union bpf_attr` as `BPF_MAP_CREATE` reads it (`include/uapi/linux/bpf.h`).
#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

/// The same for `BPF_MAP_UPDATE_ELEM`.
#[repr(C)]
struct MapUpdate {
    map_fd: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The same for the batch operations on maps.
#[repr(C)]
struct MapBatch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// The same for `BPF_PROG_TEST_RUN`.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
}

/// The same for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct GetInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// Size of `struct bpf_prog_info` up to and with `recursion_misses` (Linux 5.12).
const PROG_INFO_SIZE: usize = 216;
const RECURSION_MISSES_AT: usize = 208;

fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_long> {
    let size = size_of::<T>();
    // SAFETY: the attributes are a live, exclusive, plain struct of the size that is passed. What
    // its addresses refer to is vouched for by the callers, each of which is in this file.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn descriptor(descriptor: BorrowedFd<'_>) -> u32 {
    descriptor.as_raw_fd().cast_unsigned()
}

/// Makes a ring buffer of `bytes`, a power of two and a multiple of the page size.
pub(crate) fn create_ring(bytes: u32) -> io::Result<OwnedFd> {
    let mut attributes =
        MapCreate { map_type: BPF_MAP_TYPE_RINGBUF, max_entries: bytes, ..MapCreate::default() };
    owned(bpf(BPF_MAP_CREATE, &mut attributes)?)
}

/// An array of one element of `bytes`, which can be mapped.
pub(crate) fn create_shared_array(bytes: u32) -> io::Result<OwnedFd> {
    let mut attributes = MapCreate {
        map_type: BPF_MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: bytes,
        max_entries: 1,
        map_flags: BPF_F_MMAPABLE,
    };
    let array = bpf(BPF_MAP_CREATE, &mut attributes)?;
    let array = i32::try_from(array).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(array) })
}

/// Takes all elements out of a hash map, and hands them over (Linux 5.6).
pub(crate) fn take_all<K: aya::Pod + Default, V: aya::Pod + Default>(
    map: BorrowedFd<'_>,
    mut handler: impl FnMut(K, V),
) -> io::Result<()> {
    /// More than any bucket of the map has.
    const BATCH: usize = 4096;
    let mut keys = vec![K::default(); BATCH];
    let mut values = vec![V::default(); BATCH];
    // The number of a bucket, which the kernel goes on from.
    let (mut from, mut to) = (0_u64, 0_u64);
    let mut first = true;
    loop {
        let mut attributes = MapBatch {
            // All of these outlive the call, and the kernel writes no more than `count` elements.
            in_batch: if first { 0 } else { std::ptr::from_ref(&from) as u64 },
            out_batch: std::ptr::from_mut(&mut to) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: BATCH as u32,
            map_fd: descriptor(map),
            elem_flags: 0,
            flags: 0,
        };
        let result = bpf(BPF_MAP_LOOKUP_AND_DELETE_BATCH, &mut attributes);
        let done = match result {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) => return Err(error),
        };
        for (key, value) in keys.iter().zip(&values).take(attributes.count as usize) {
            handler(*key, *value);
        }
        if done {
            return Ok(());
        }
        from = to;
        first = false;
    }
}

/// Puts the map `inner` at `index` of the array of maps `outer`.
pub(crate) fn put_map(outer: BorrowedFd<'_>, index: u32, inner: BorrowedFd<'_>) -> io::Result<()> {
    let value = descriptor(inner);
    let mut attributes = MapUpdate {
        map_fd: descriptor(outer),
        _pad: 0,
        // Both outlive the call; a key and a value of an array of maps are 4 bytes each.
        key: std::ptr::from_ref(&index) as u64,
        value: std::ptr::from_ref(&value) as u64,
        flags: 0,
    };
    bpf(BPF_MAP_UPDATE_ELEM, &mut attributes).map(drop)
}

/// Runs a raw tracepoint program once, in this thread.
pub(crate) fn run_once(program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = TestRun { prog_fd: descriptor(program), ..TestRun::default() };
    bpf(BPF_PROG_TEST_RUN, &mut attributes).map(drop)
}

/// How often the kernel did not run this program because it was running already on that CPU;
/// 0 before Linux 5.12, which does not count it.
pub(crate) fn recursion_misses(program: BorrowedFd<'_>) -> io::Result<u64> {
    let mut info = [0u64; PROG_INFO_SIZE / 8];
    let mut attributes = GetInfo {
        bpf_fd: descriptor(program),
        info_len: PROG_INFO_SIZE as u32,
        // It outlives the call, and the kernel writes at most `info_len` bytes.
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(info[RECURSION_MISSES_AT / 8])
}

/// `CLOCK_MONOTONIC`, in nanoseconds.
pub(crate) fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every Linux, and the pointer is to a live timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// Allows this process to lock as much memory as it likes. Before Linux 5.11 maps count as locked.
pub(crate) fn lift_memory_lock_limit() -> io::Result<()> {
    let unlimited = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the pointer is to a live rlimit.
    match unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const unlimited) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `struct perf_event_attr` up to `config2` (`PERF_ATTR_SIZE_VER1`, `include/uapi/linux/perf_event.h`).
#[repr(C)]
#[derive(Default)]
pub(crate) struct PerfEvent {
    pub(crate) kind: u32,
    /// Filled in by [`open_perf_event`].
    pub(crate) size: u32,
    pub(crate) config: u64,
    /// Or the frequency, as the flags say.
    pub(crate) sample_period: u64,
    pub(crate) sample_type: u64,
    pub(crate) read_format: u64,
    pub(crate) flags: u64,
    /// Or the watermark, as the flags say.
    pub(crate) wakeup_events: u32,
    pub(crate) bp_type: u32,
    pub(crate) config1: u64,
    pub(crate) config2: u64,
}

/// The start of `union bpf_attr` as `BPF_LINK_CREATE` reads it.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    cookie: u64,
}

const BPF_LINK_CREATE: libc::c_int = 28;
/// A kind of event that a processor counts by itself.
pub(crate) const PERF_TYPE_HARDWARE: u32 = 0;
/// A kind of event that needs no hardware.
pub(crate) const PERF_TYPE_SOFTWARE: u32 = 1;
/// What is read of an event: its count, and for how long it was enabled.
pub(crate) const PERF_FORMAT_TOTAL_TIME_ENABLED: u64 = 1;
const BPF_PERF_EVENT: u32 = 41;
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
pub(crate) const PERF_EVENT_IOC_ENABLE: libc::c_ulong = 0x2400;
pub(crate) const PERF_EVENT_IOC_SET_BPF: libc::c_ulong = 0x4004_2408;

/// A program on instructions of user space, until it is dropped.
#[derive(Debug)]
pub(crate) struct Uprobe {
    /// Let go of before the event.
    _link: Option<OwnedFd>,
    _event: Option<OwnedFd>,
}

/// The start of `union bpf_attr` as `BPF_PROG_LOAD` reads it.
#[repr(C)]
struct ProgramLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    _pad: u32,
}

/// The same for `BPF_BTF_LOAD`.
#[repr(C)]
struct TypesLoad {
    btf: u64,
    btf_log_buf: u64,
    btf_size: u32,
    btf_log_size: u32,
    btf_log_level: u32,
    _pad: u32,
}

/// The start of `union bpf_attr` as `BPF_LINK_CREATE` reads it for uprobes on many instructions.
#[repr(C)]
struct MultiLinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    ref_ctr_offsets: u64,
    cookies: u64,
    count: u32,
    multi_flags: u32,
    pid: u32,
    _pad: u32,
}

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_BTF_LOAD: libc::c_int = 18;
const BPF_PROG_TYPE_KPROBE: u32 = 2;
const BPF_TRACE_UPROBE_MULTI: u32 = 48;
const BPF_F_UPROBE_MULTI_RETURN: u32 = 1;

/// Loads the types of an object, in BTF.
pub(crate) fn load_types(types: &[u8]) -> io::Result<OwnedFd> {
    let mut attributes = TypesLoad {
        // It outlives the call, and the kernel reads as many bytes as are said to be there.
        btf: types.as_ptr() as u64,
        btf_log_buf: 0,
        btf_size: types.len() as u32,
        btf_log_size: 0,
        btf_log_level: 0,
        _pad: 0,
    };
    owned(bpf(BPF_BTF_LOAD, &mut attributes)?)
}

/// Loads a program that [`attach_multi_uprobe`] attaches (Linux 6.6). Its functions are told apart by
/// `types`.
pub(crate) fn load_multi_uprobe(
    name: &str,
    function: &aya_obj::Function,
    license: &CStr,
    types: BorrowedFd<'_>,
) -> io::Result<OwnedFd> {
    let instructions = &function.instructions;
    let functions = function.func_info.func_info_bytes();
    let mut prog_name = [0; 16];
    // The last byte stays a NUL.
    for (to, from) in prog_name.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    let mut attributes = ProgramLoad {
        prog_type: BPF_PROG_TYPE_KPROBE,
        insn_cnt: instructions.len() as u32,
        // All of these outlive the call, and are as many, and as large, as is said.
        insns: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name,
        prog_ifindex: 0,
        expected_attach_type: BPF_TRACE_UPROBE_MULTI,
        prog_btf_fd: descriptor(types),
        func_info_rec_size: function.func_info_rec_size as u32,
        func_info: functions.as_ptr() as u64,
        func_info_cnt: function.func_info.len() as u32,
        line_info_rec_size: 0,
        line_info: 0,
        line_info_cnt: 0,
        _pad: 0,
    };
    owned(unless_interrupted(|| bpf(BPF_PROG_LOAD, &mut attributes))?)
}

/// Loads again what the verifier has given up: it does when a signal is waiting, such as a profiler of
/// user space sends. Where they come too fast, it stays an error.
fn unless_interrupted<T>(mut load: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    const TRIES: u32 = 5;
    for _ in 1..TRIES {
        match load() {
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
            result => return result,
        }
    }
    load()
}

/// Attaches a program as [`attach_uprobe`] does, to many instructions at once (Linux 6.6). The program
/// is one of [`load_multi_uprobe`]'s, and can ask for the cookie that each offset comes with. With `pid`,
/// in that process alone: others do not even stop there.
pub(crate) fn attach_multi_uprobe(
    program: BorrowedFd<'_>,
    path: &CStr,
    places: &[(u64, u64)],
    is_return: bool,
    pid: Option<u32>,
) -> io::Result<Uprobe> {
    let (offsets, cookies): (Vec<u64>, Vec<u64>) = places.iter().copied().unzip();
    let mut attributes = MultiLinkCreate {
        prog_fd: descriptor(program),
        target_fd: 0,
        attach_type: BPF_TRACE_UPROBE_MULTI,
        flags: 0,
        // All of these outlive the call, and there are as many offsets as cookies.
        path: path.as_ptr() as u64,
        offsets: offsets.as_ptr() as u64,
        ref_ctr_offsets: 0,
        cookies: cookies.as_ptr() as u64,
        count: offsets.len() as u32,
        multi_flags: if is_return { BPF_F_UPROBE_MULTI_RETURN } else { 0 },
        pid: pid.unwrap_or(0),
        _pad: 0,
    };
    let link = owned(bpf(BPF_LINK_CREATE, &mut attributes)?)?;
    Ok(Uprobe { _link: Some(link), _event: None })
}

/// Whether [`attach_multi_uprobe`] can do anything with a program: before Linux 6.6 it is loaded all the
/// same, as one for single probes.
pub(crate) fn attaches_multi_uprobe(program: BorrowedFd<'_>) -> bool {
    // A kernel that knows what is asked for complains that this is no regular file
    // (kernel/trace/bpf_trace.c, bpf_uprobe_multi_link_attach).
    let attached = attach_multi_uprobe(program, c"/", &[(0, 0)], false, None);
    attached.is_err_and(|error| error.raw_os_error() == Some(libc::EBADF))
}

/// Attaches a program to an instruction of the file at `path`, `offset` bytes into it, for every
/// process that has it mapped or will have. With `is_return`, to the return of the function that
/// begins there. The program can ask for `cookie`, which wants Linux 5.15.
pub(crate) fn attach_uprobe(
    program: BorrowedFd<'_>,
    path: &CStr,
    offset: u64,
    is_return: bool,
    cookie: Option<u64>,
) -> io::Result<Uprobe> {
    let attributes = PerfEvent {
        kind: uprobe_event_source()?,
        // `format/retprobe` of the event source: "config:0".
        config: u64::from(is_return),
        config1: path.as_ptr() as u64,
        config2: offset,
        ..PerfEvent::default()
    };
    // Of all processes, an event is opened on one CPU; the program runs on all. The path in the
    // attributes outlives the call.
    let event = open_perf_event(attributes, 0)?;
    let Some(cookie) = cookie else {
        perf_ioctl(event.as_fd(), PERF_EVENT_IOC_SET_BPF, program.as_raw_fd())?;
        perf_ioctl(event.as_fd(), PERF_EVENT_IOC_ENABLE, 0)?;
        return Ok(Uprobe { _link: None, _event: Some(event) });
    };
    let mut attributes = LinkCreate {
        prog_fd: descriptor(program),
        target_fd: descriptor(event.as_fd()),
        attach_type: BPF_PERF_EVENT,
        flags: 0,
        cookie,
    };
    let link = owned(bpf(BPF_LINK_CREATE, &mut attributes)?)?;
    Ok(Uprobe { _link: Some(link), _event: Some(event) })
}

/// Opens an event of all processes on this CPU.
pub(crate) fn open_perf_event(mut attributes: PerfEvent, cpu: u32) -> io::Result<OwnedFd> {
    attributes.size = size_of::<PerfEvent>() as u32;
    // SAFETY: the attributes are a live, plain struct of the size that they say. What their addresses
    // refer to is vouched for by the callers. The other arguments are numbers: any process, this CPU,
    // no group.
    owned(unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            std::ptr::from_ref(&attributes),
            -1,
            cpu,
            -1,
            PERF_FLAG_FD_CLOEXEC,
        )
    })
}

/// Takes hold of a descriptor that a system call has just returned; below 0, it is an error instead.
fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let result = i32::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

pub(crate) fn perf_ioctl(
    event: BorrowedFd<'_>,
    request: libc::c_ulong,
    value: i32,
) -> io::Result<()> {
    // SAFETY: both requests take a number and no address.
    match unsafe { libc::ioctl(event.as_raw_fd(), request, value) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// For how long an event was enabled, in ns. It has [`PERF_FORMAT_TOTAL_TIME_ENABLED`].
pub(crate) fn perf_enabled_ns(event: BorrowedFd<'_>) -> io::Result<u64> {
    let mut words = [0u64; 2];
    // SAFETY: the kernel writes at most so many bytes to memory that outlives the call.
    let read =
        unsafe { libc::read(event.as_raw_fd(), words.as_mut_ptr().cast(), size_of_val(&words)) };
    match usize::try_from(read) {
        Ok(read) if read == size_of_val(&words) => Ok(words[1]),
        Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Waits until one of these has something to be read, or the time is up. True when it has.
pub(crate) fn wait_readable(descriptors: &[BorrowedFd<'_>], time: Duration) -> io::Result<bool> {
    let readable = |descriptor: &BorrowedFd<'_>| libc::pollfd {
        fd: descriptor.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let mut polls: Vec<_> = descriptors.iter().map(readable).collect();
    let milliseconds = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: so many live descriptions are passed as is said.
    match unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, milliseconds) } {
        -1 => Err(io::Error::last_os_error()),
        ready => Ok(ready > 0),
    }
}

/// The number of the event source `uprobe`, which each kernel gives anew.
fn uprobe_event_source() -> io::Result<u32> {
    let number = std::fs::read_to_string("/sys/bus/event_source/devices/uprobe/type")?;
    number.trim().parse().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::unless_interrupted;
    use std::io;

    /// Loads what is given up as many times before; says how often it was tried.
    fn load_after(given_up: u32) -> (io::Result<u32>, u32) {
        let mut tries = 0;
        let result = unless_interrupted(|| {
            tries += 1;
            match tries {
                times if times <= given_up => Err(io::Error::from_raw_os_error(libc::EAGAIN)),
                times => Ok(times),
            }
        });
        (result, tries)
    }

    #[test]
    fn what_a_signal_interrupts_is_loaded_again() {
        assert!(matches!(load_after(0), (Ok(1), 1)));
        assert!(matches!(load_after(4), (Ok(5), 5)));
    }

    #[test]
    fn it_is_given_up_in_the_end() {
        let (result, tries) = load_after(u32::MAX);
        assert_eq!((result.unwrap_err().raw_os_error(), tries), (Some(libc::EAGAIN), 5));
    }

    #[test]
    fn another_error_is_one_at_once() {
        let mut tries = 0;
        let result: io::Result<()> = unless_interrupted(|| {
            tries += 1;
            Err(io::Error::from_raw_os_error(libc::EPERM))
        });
        assert_eq!((result.unwrap_err().raw_os_error(), tries), (Some(libc::EPERM), 1));
    }
}
