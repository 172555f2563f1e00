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
	read_call(&call, user_registers());
	if ((__s32)result < 0) {
		end_cursor(&call);
		return 0;
	}
	if (!locate_message(&payload, &call))
		locate(&payload, &call);
	if (flags & MSG_TRUNC && direction == RECEIVED && !is_datagram(state->transport))
		payload.kind = PAYLOAD_NOT_IN_USER;
	if (direction == RECEIVED && is_datagram(state->transport))
		note_sender(sk, message);
	transferred(slot, sk, state, direction, result, &payload);
	return 0;
}

#define SEND_EXIT(function, slot)                                                                    \
	SEC("fexit/" #function)                                                                 \
	int BPF_PROG(function, struct socket *socket, struct msghdr *message, __u64 size,       \
		     int result)                                                                \
	{                                                                                       \
		return on_exit(slot, socket, message, result, 0, SENT);                               \
	}

#define RECEIVE_EXIT(function, slot)                                                                 \
	SEC("fexit/" #function)                                                                 \
	int BPF_PROG(function, struct socket *socket, struct msghdr *message, __u64 size,       \
		     int flags, int result)                                                     \
	{                                                                                       \
		return on_exit(slot, socket, message, result, flags, RECEIVED);                       \
	}

SEND_EXIT(inet_sendmsg, 0)
SEND_EXIT(inet6_sendmsg, 1)
SEND_EXIT(unix_stream_sendmsg, 2)
SEND_EXIT(unix_dgram_sendmsg, 3)
SEND_EXIT(unix_seqpacket_sendmsg, 4)
RECEIVE_EXIT(inet_recvmsg, 5)
RECEIVE_EXIT(inet6_recvmsg, 6)
RECEIVE_EXIT(unix_stream_recvmsg, 7)
RECEIVE_EXIT(unix_dgram_recvmsg, 8)
RECEIVE_EXIT(unix_seqpacket_recvmsg, 9)
