//! Which programs there are, what each is attached to, and what for.

use crate::Backend;

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    /// A tracepoint, by its BTF.
    Tracepoint(&'static str),
    /// The exit of a kernel function, through a trampoline.
    FunctionExit(&'static str),
    /// The entry of a kernel function, by a kprobe.
    FunctionEntry(&'static str),
    /// A hook of the root cgroup, for all processes.
    Cgroup(&'static str),
    /// The return of a system call, by a kretprobe.
    SyscallReturn(&'static str),
}

impl Hook {
    /// Its name in a report, as eBPF's own tools write it.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Tracepoint(name) => format!("tp_btf/{name}"),
            Self::FunctionExit(name) => format!("fexit/{name}"),
            Self::FunctionEntry(name) => format!("kprobe/{name}"),
            Self::Cgroup(name) => format!("cgroup/{name}"),
            Self::SyscallReturn(name) => format!("kretprobe/{}", syscall_symbol(name)),
        }
    }
}

/// The kernel's function for a system call: architectures put their own name before it.
pub(crate) fn syscall_symbol(name: &str) -> String {
    let prefix = if cfg!(target_arch = "aarch64") { "__arm64_" } else { "__x64_" };
    format!("{prefix}{name}")
}

/// One attachment of a program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attach {
    /// The program's name in its object.
    pub(crate) program: &'static str,
    /// What it is attached to.
    pub(crate) hook: Hook,
    /// What for.
    pub(crate) purpose: &'static str,
    /// Whether the backend is of no use without it.
    pub(crate) essential: bool,
}

const fn essential(program: &'static str, hook: Hook, purpose: &'static str) -> Attach {
    Attach { program, hook, purpose, essential: true }
}

const fn optional(program: &'static str, hook: Hook, purpose: &'static str) -> Attach {
    Attach { program, hook, purpose, essential: false }
}

/// What every backend attaches besides.
const LIFETIME: [Attach; 2] = [
    optional("tcp_destroyed", Hook::Tracepoint("tcp_destroy_sock"), "ends of connections"),
    optional("process_exited", Hook::Tracepoint("sched_process_exit"), "ends of processes"),
];

const SOCKET: &[Attach] = &[
    essential("sent_length", Hook::Tracepoint("sock_send_length"), "what is sent"),
    essential("received_length", Hook::Tracepoint("sock_recv_length"), "what is received"),
    optional("received_from_v4", Hook::Cgroup("recvmsg4"), "senders of datagrams"),
    optional("received_from_v6", Hook::Cgroup("recvmsg6"), "senders of datagrams, IPv6"),
    optional("uring_submitted", Hook::Tracepoint("io_uring_submit_req"), "payload of io_uring"),
];

const FENTRY: &[Attach] = &[
    essential("inet_sendmsg", Hook::FunctionExit("inet_sendmsg"), "what is sent"),
    essential("inet_recvmsg", Hook::FunctionExit("inet_recvmsg"), "what is received"),
    optional("inet6_sendmsg", Hook::FunctionExit("inet6_sendmsg"), "what is sent, IPv6"),
    optional("inet6_recvmsg", Hook::FunctionExit("inet6_recvmsg"), "what is received, IPv6"),
    optional("unix_stream_sendmsg", Hook::FunctionExit("unix_stream_sendmsg"), UNIX),
    optional("unix_stream_recvmsg", Hook::FunctionExit("unix_stream_recvmsg"), UNIX),
    optional("unix_dgram_sendmsg", Hook::FunctionExit("unix_dgram_sendmsg"), UNIX),
    optional("unix_dgram_recvmsg", Hook::FunctionExit("unix_dgram_recvmsg"), UNIX),
    optional("unix_seqpacket_sendmsg", Hook::FunctionExit("unix_seqpacket_sendmsg"), UNIX),
    optional("unix_seqpacket_recvmsg", Hook::FunctionExit("unix_seqpacket_recvmsg"), UNIX),
    optional("inet_sendpage", Hook::FunctionExit("inet_sendpage"), "files sent, before 6.5"),
    optional("unix_stream_sendpage", Hook::FunctionExit("unix_stream_sendpage"), UNIX),
    optional("tcp_splice_read", Hook::FunctionExit("tcp_splice_read"), "pipes received"),
    optional("unix_stream_splice_read", Hook::FunctionExit("unix_stream_splice_read"), UNIX),
];
const UNIX: &str = "Unix sockets";

const fn on_entry(program: &'static str, name: &'static str, purpose: &'static str) -> Attach {
    essential(program, Hook::FunctionEntry(name), purpose)
}

const fn on_return(name: &'static str, purpose: &'static str) -> Attach {
    essential("syscall_returned", Hook::SyscallReturn(name), purpose)
}

const fn on_rarer_return(name: &'static str, purpose: &'static str) -> Attach {
    optional("syscall_returned", Hook::SyscallReturn(name), purpose)
}

const KPROBE: &[Attach] = &[
    on_entry("tcp_send_begins", "tcp_sendmsg", "what is sent by TCP"),
    on_entry("tcp_receive_begins", "tcp_recvmsg", "what is received by TCP"),
    on_entry("socket_released", "release_sock", "how much that was"),
    optional("tcp_send_begins", Hook::FunctionEntry("tcp_sendpage"), "files sent, before 6.5"),
    optional("tcp_splice_begins", Hook::FunctionEntry("tcp_splice_read"), "pipes received"),
    on_return("sys_read", "what is received"),
    on_return("sys_write", "what is sent"),
    on_return("sys_recvfrom", "what is received"),
    on_return("sys_sendto", "what is sent"),
    on_return("sys_recvmsg", "what is received"),
    on_return("sys_sendmsg", "what is sent"),
    on_return("sys_readv", "what is received"),
    on_return("sys_writev", "what is sent"),
    on_rarer_return("sys_recvmmsg", "many messages received"),
    on_rarer_return("sys_sendmmsg", "many messages sent"),
    on_rarer_return("sys_preadv2", "what is received"),
    on_rarer_return("sys_pwritev2", "what is sent"),
    on_rarer_return("sys_sendfile64", "files sent"),
    on_rarer_return("sys_splice", "pipes sent and received"),
];

const SYS_EXIT: &[Attach] =
    &[essential("syscall_exited", Hook::Tracepoint("sys_exit"), "what is sent and received")];

/// Everything that `backend` attaches, in order.
pub(crate) fn attachments(backend: Backend) -> impl Iterator<Item = Attach> {
    let own = match backend {
        Backend::Socket | Backend::Auto => SOCKET,
        Backend::Fentry => FENTRY,
        Backend::Kprobe => KPROBE,
        Backend::SysExit => SYS_EXIT,
    };
    own.iter().chain(&LIFETIME).copied()
}

macro_rules! prebuilt {
    ($name:literal) => {{
        #[cfg(target_arch = "x86_64")]
        let object = aya::include_bytes_aligned!(concat!("../prebuilt/x86_64/", $name, ".bpf.o"));
        #[cfg(target_arch = "aarch64")]
        let object = aya::include_bytes_aligned!(concat!("../prebuilt/aarch64/", $name, ".bpf.o"));
        object
    }};
}

/// The object that holds the programs of `backend`.
pub(crate) fn object(backend: Backend) -> &'static [u8] {
    match backend {
        Backend::Socket | Backend::Auto => prebuilt!("socket"),
        Backend::Fentry => prebuilt!("fentry"),
        Backend::Kprobe => prebuilt!("kprobe"),
        Backend::SysExit => prebuilt!("sysexit"),
    }
}
