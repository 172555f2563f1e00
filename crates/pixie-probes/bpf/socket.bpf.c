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
	read_call(&call, user_registers());
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
	transferred(sk, state, direction, result, &payload);
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
 * When sock_recv_length fires, a datagram's sender is not in user space yet; the packet that it is
 * copied from tells it. Packets of TCP belong to a socket, those of UDP to none.
 */
SEC("tp_btf/skb_copy_datagram_iovec")
int BPF_PROG(copied_datagram, struct sk_buff *packet)
{
	struct received_from *seen;
	unsigned char *network, *transport;
	__u32 zero = 0;

	if (packet->sk)
		return 0;
	seen = bpf_map_lookup_elem(&received_from, &zero);
	if (!seen)
		return 0;
	network = packet->head + packet->network_header;
	transport = packet->head + packet->transport_header;
	__builtin_memset(&seen->peer, 0, sizeof(seen->peer));
	seen->task = bpf_get_current_pid_tgid();
	if (packet->protocol == bpf_htons(0x0800)) {
		seen->peer.family = AF_INET;
		bpf_probe_read_kernel(seen->peer.bytes, 4, network + 12);
	} else {
		seen->peer.family = AF_INET6;
		bpf_probe_read_kernel(seen->peer.bytes, 16, network + 8);
	}
	bpf_probe_read_kernel(&seen->peer.port, 2, transport);
	return 0;
}
