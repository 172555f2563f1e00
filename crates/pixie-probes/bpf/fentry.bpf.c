/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Socket traffic by the exits of the protocol families' send and receive functions, through BPF
 * trampolines. Their message tells a datagram's sender; the registers tell the payload.
 */
#include "include/common.h"
#include "include/access_direct.h"
#include "include/syscall.h"
#include "include/transfer.h"
#include "include/cursor.h"
#include "include/lifetime.h"
#include "include/tls.h"

static __always_inline void note_sender(struct sock *sk, struct msghdr *message)
{
	struct socket_name *name = BPF_CORE_READ(message, msg_name);
	struct received_from *seen;
	struct socket_name copy = {};
	__u32 zero = 0;

	if (!name || BPF_CORE_READ(message, msg_namelen) <= 0)
		return;
	seen = bpf_map_lookup_elem(&received_from, &zero);
	if (!seen || bpf_probe_read_kernel(&copy, sizeof(copy), name))
		return;
	__builtin_memset(&seen->peer, 0, sizeof(seen->peer));
	name_to_address(&seen->peer, &copy);
	seen->task = bpf_get_current_pid_tgid();
	seen->port = bpf_htons(READ(sk, __sk_common.skc_num));
}

static __always_inline int on_exit(__u32 slot, struct socket *socket, struct msghdr *message, __s64 result,
				   __u32 flags, __u32 direction)
{
	struct sock *sk = socket->sk;
	struct payload payload;
	struct state *state;
	struct call call;

	if (flags & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE) && direction == RECEIVED)
		return 0;
	if (!sk)
		return 0;
	state = make_state(sk);
	if (!state)
		return 0;
	read_current_call(&call);
	if ((__s32)result < 0) {
		end_cursor(&call);
		return 0;
	}
	if (!locate_message(&payload, &call))
		locate(&payload, &call);
	if (flags & MSG_TRUNC && direction == RECEIVED && !is_datagram(state->transport))
		payload.kind = PAYLOAD_NOT_IN_USER;
	if (message && direction == RECEIVED && is_datagram(state->transport))
		note_sender(sk, message);
	transferred(slot, sk, state, direction, result, &payload);
	return 0;
}

#define EXIT(function, direction, slot, flags, message, ...)                                     \
	SEC("fexit/" #function)                                                                 \
	int BPF_PROG(function, struct socket *socket, __VA_ARGS__)                              \
	{                                                                                       \
		return on_exit(slot, socket, message, result, flags, direction);                \
	}

#define SEND_EXIT(function, slot)                                                               \
	EXIT(function, SENT, slot, 0, message, struct msghdr *message, __u64 size, int result)

#define RECEIVE_EXIT(function, slot)                                                            \
	EXIT(function, RECEIVED, slot, flags, message, struct msghdr *message, __u64 size,      \
	     int flags, int result)

/* Until Linux 6.5, which sends pages as messages. */
#define SEND_PAGE_EXIT(function, slot)                                                          \
	EXIT(function, SENT, slot, 0, NULL, void *page, int offset, __u64 size, int flags,      \
	     long result)

#define SPLICE_EXIT(function, slot)                                                             \
	EXIT(function, RECEIVED, slot, 0, NULL, void *position, void *pipe, __u64 size,         \
	     unsigned int flags, long result)

SEND_EXIT(inet_sendmsg, 0)
SEND_EXIT(inet6_sendmsg, 1)
SEND_EXIT(unix_stream_sendmsg, 2)
SEND_EXIT(unix_dgram_sendmsg, 3)
SEND_EXIT(unix_seqpacket_sendmsg, 4)
SEND_PAGE_EXIT(inet_sendpage, 5)
SEND_PAGE_EXIT(unix_stream_sendpage, 6)
RECEIVE_EXIT(inet_recvmsg, 7)
RECEIVE_EXIT(inet6_recvmsg, 8)
RECEIVE_EXIT(unix_stream_recvmsg, 9)
RECEIVE_EXIT(unix_dgram_recvmsg, 10)
RECEIVE_EXIT(unix_seqpacket_recvmsg, 11)
SPLICE_EXIT(tcp_splice_read, 12)
SPLICE_EXIT(unix_stream_splice_read, 13)
