/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Socket traffic by the tracepoints sock_send_length and sock_recv_length (Linux 6.3): they fire on
 * socket I/O alone, whatever started it, io_uring too.
 */
#include "include/common.h"
#include "include/access_direct.h"
#include "include/syscall.h"
#include "include/transfer.h"
#include "include/cursor.h"
#include "include/uring.h"
#include "include/lifetime.h"
#include "include/tls.h"

static __always_inline int on_length(struct sock *sk, __s32 result, __u32 flags, __u32 direction)
{
	struct payload payload;
	struct state *state;
	struct call call;

	if (flags & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE) && direction == RECEIVED)
		return 0;
	state = make_state(sk);
	if (!state || (state->flags & STATE_EXCLUDED && state->pid == bpf_get_current_pid_tgid() >> 32))
		return 0;
	read_current_call(&call);
	if (result < 0) {
		end_cursor(&call);
		return 0;
	}
	if (!locate_message(&payload, &call)) {
		locate(&payload, &call);
		locate_uring(&payload, &call, sk, direction, result);
	}
	if (flags & MSG_TRUNC && direction == RECEIVED && !is_datagram(state->transport))
		payload.kind = PAYLOAD_NOT_IN_USER;
	transferred(direction, sk, state, direction, result, &payload);
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(sent_length, struct sock *sk, int result, int flags)
{
	return on_length(sk, result, flags, SENT);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(received_length, struct sock *sk, int result, int flags)
{
	return on_length(sk, result, flags, RECEIVED);
}

/*
 * When sock_recv_length fires, a datagram's sender is not in user space yet. These see it just
 * before; that they return 1 lets it pass as it is.
 */
static __always_inline void note_sender(struct bpf_sock_addr *context, __u16 family)
{
	struct bpf_sock *sk = context->sk;
	struct received_from *seen;
	__u32 zero = 0;

	seen = bpf_map_lookup_elem(&received_from, &zero);
	if (!seen || !sk)
		return;
	__builtin_memset(&seen->peer, 0, sizeof(seen->peer));
	seen->task = bpf_get_current_pid_tgid();
	seen->port = bpf_htons(sk->src_port);
	seen->peer.family = family;
	seen->peer.port = context->user_port;
	if (family == AF_INET) {
		*(__be32 *)seen->peer.bytes = context->user_ip4;
	} else {
		__be32 *words = (__be32 *)seen->peer.bytes;

		words[0] = context->user_ip6[0];
		words[1] = context->user_ip6[1];
		words[2] = context->user_ip6[2];
		words[3] = context->user_ip6[3];
	}
}

SEC("cgroup/recvmsg4")
int received_from_v4(struct bpf_sock_addr *context)
{
	note_sender(context, AF_INET);
	return 1;
}

SEC("cgroup/recvmsg6")
int received_from_v6(struct bpf_sock_addr *context)
{
	note_sender(context, AF_INET6);
	return 1;
}
