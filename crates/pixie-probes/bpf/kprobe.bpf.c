/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Socket traffic by kprobes. TCP's functions are probed where a transfer begins and where the socket
 * is released when it is done; what lies between the two positions of the stream was transferred.
 * Other sockets' traffic is seen by the returns of the system calls.
 *
 * That is not done for TCP, because a kretprobe has but a few instances (one a CPU on some kernels),
 * and one is taken for as long as a thread waits in a read of anything: with none left, the kernel
 * does not run the program.
 */
#include "include/common.h"
#include "include/access_probe.h"
#include "include/syscall.h"
#include "include/transfer.h"
#define told_otherwise(state) ((state)->transport == TRANSPORT_TCP)
#include "include/on_syscall.h"
#include "include/lifetime.h"
#include "include/tls.h"

/* A transfer that is under way, by the task that makes it. */
struct under_way {
	__u64 sk;
	__u64 inode; /* of its file: another one means another socket at the same address */
	__u32 direction;
	__u32 base; /* the position from which on it is still to be told */
	__u32 done; /* bytes of it that were told */
	__u32 _pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct under_way);
} under_way SEC(".maps");

static __always_inline __u64 inode_of(struct sock *sk)
{
	return BPF_CORE_READ(sk, sk_socket, file, f_inode, i_ino);
}

static __always_inline int tcp_begins(struct sock *sk, __u32 direction)
{
	struct under_way begun = { .sk = (__u64)sk, .direction = direction };
	__u64 task = bpf_get_current_pid_tgid();

	begun.inode = inode_of(sk);
	begun.base = tcp_position(sk, as_tcp(sk), direction);
	bpf_map_update_elem(&under_way, &task, &begun, BPF_ANY);
	return 0;
}

SEC("kprobe")
int tcp_send_begins(struct pt_regs *context)
{
	return tcp_begins((struct sock *)PT_REGS_PARM1(context), SENT);
}

SEC("kprobe")
int tcp_receive_begins(struct pt_regs *context)
{
	return tcp_begins((struct sock *)PT_REGS_PARM1(context), RECEIVED);
}

SEC("kprobe")
int tcp_splice_begins(struct pt_regs *context)
{
	struct socket *socket = (struct socket *)PT_REGS_PARM1(context);

	return tcp_begins(BPF_CORE_READ(socket, sk), RECEIVED);
}

/* Whether the other end has sent its last, and all of it was read: but for the FIN, perhaps. */
static __always_inline bool all_received(struct sock *sk)
{
	struct tcp_sock *tcp = as_tcp(sk);

	return READ(sk, sk_shutdown) & RCV_SHUTDOWN &&
	       READ(tcp, rcv_nxt) - READ(tcp, copied_seq) <= 1;
}

/* A socket is also released while a transfer waits for room or for data: then part of it is told. */
SEC("kprobe")
int socket_released(struct pt_regs *context)
{
	struct sock *sk = (struct sock *)PT_REGS_PARM1(context);
	__u64 task = bpf_get_current_pid_tgid();
	struct under_way *begun = bpf_map_lookup_elem(&under_way, &task);
	struct payload payload;
	struct state *state;
	struct call call;
	__u32 direction, length;

	if (!begun || begun->sk != (__u64)sk || begun->inode != inode_of(sk))
		return 0;
	direction = begun->direction & 1;
	/* Not the FIN, which comes behind what was sent. */
	if (direction == SENT && READ(sk, sk_shutdown) & SEND_SHUTDOWN)
		return 0;
	length = tcp_position(sk, as_tcp(sk), direction) - begun->base;
	if (!length && (begun->done || direction != RECEIVED || !all_received(sk)))
		return 0;
	state = make_state(sk, begun->inode);
	if (!state || !told_otherwise(state))
		return 0;
	read_current_call(&call);
	/* Which of many messages this is, only the end of the call tells. */
	if (call.number == SYS_SENDMMSG || call.number == SYS_RECVMMSG)
		return 0;
	locate(&payload, &call);
	if (begun->done && payload.kind == PAYLOAD_BUFFER)
		payload.address += begun->done;
	else if (begun->done && payload.kind != PAYLOAD_NOT_IN_USER)
		payload.kind = PAYLOAD_UNKNOWN;
	begun->base += length;
	begun->done += length;
	/* The end is told once. */
	if (!length)
		begun->sk = 0;
	transferred(2, sk, state, direction, length, &payload);
	return 0;
}

/* One program for all of them: which system call it was, the registers tell. */
SEC("kretprobe")
int syscall_returned(struct pt_regs *context)
{
	__s64 result = PT_REGS_RC(context);
	struct call call;

	if (result < 0)
		return 0;
	read_current_call(&call);
	return on_syscall(&call, result);
}
