/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Datagrams: one event each, with the peer that sent it or is sent it. */
#ifndef PIXIE_DATAGRAM_H
#define PIXIE_DATAGRAM_H

#define GATHER_BYTES 8192

/* The start of a struct sockaddr_in or sockaddr_in6: all but the scope. */
struct socket_name {
	__u16 family;
	__be16 port;
	union {
		__be32 v4;
		struct {
			__u32 flow;
			__u8 bytes[16];
		} v6;
	};
};

/* The peer of the datagram that this CPU's task is receiving, where it can only be seen before. */
struct received_from {
	__u64 task;
	__be16 port; /* that it was sent to */
	struct address peer;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct received_from);
} received_from SEC(".maps");

static __always_inline void name_to_address(struct address *address, struct socket_name *name)
{
	if (name->family == AF_INET) {
		address->family = AF_INET;
		address->port = name->port;
		*(__be32 *)address->bytes = name->v4;
	} else if (name->family == AF_INET6) {
		address->family = AF_INET6;
		address->port = name->port;
		__builtin_memcpy(address->bytes, name->v6.bytes, 16);
	}
}

static __noinline void find_peer(struct transfer *transfer, struct sock *sk)
{
	struct payload *payload = &transfer->payload;
	struct address *peer = &transfer->peer;
	struct address local;
	struct socket_name name = {};
	__u32 zero = 0;

	if (payload->kind == PAYLOAD_MESSAGE)
		follow_message(payload);
	__builtin_memset(peer, 0, sizeof(*peer));
	if (READ(sk, __sk_common.skc_family) == AF_UNIX)
		return;
	if (READ(sk, __sk_common.skc_dport)) {
		copy_address(sk, &local, peer);
		peer->_pad = 0;
		return;
	}
	if (transfer->direction == RECEIVED) {
		struct received_from *seen = bpf_map_lookup_elem(&received_from, &zero);

		if (seen && seen->task == bpf_get_current_pid_tgid() &&
		    seen->port == bpf_htons(READ(sk, __sk_common.skc_num))) {
			*peer = seen->peer;
			seen->task = 0;
			return;
		}
	}
	if (!payload->name || payload->name_length < 16)
		return;
	if (bpf_probe_read_user(&name, sizeof(name), (void *)payload->name))
		bpf_probe_read_user(&name, 16, (void *)payload->name);
	name_to_address(peer, &name);
}

/*
 * Whether a datagram has one of the ports that are asked for: a socket that is not connected may have
 * another peer with each. Where the peer is not known, what the socket did before tells.
 */
static __always_inline bool datagram_wanted(struct transfer *transfer, struct sock *sk,
					    struct state *state)
{
	if (port_wanted(sk, transfer->peer.port))
		return true;
	return !transfer->peer.family && state->flags & STATE_ANNOUNCED;
}

/* Gathers a vector into one run of bytes; the offsets are masked for the verifier's sake. */
static __always_inline __u32 gather(char *bytes, struct payload *payload, __u32 limit)
{
	__u32 offset = 0;

	for (int element = 0; element < 8; element++) {
		struct user_iovec piece;
		__u32 length;

		if (element >= payload->count || offset >= limit)
			break;
		if (bpf_probe_read_user(&piece, sizeof(piece),
					(void *)(payload->address + element * sizeof(piece))))
			break;
		length = limit - offset;
		if (piece.length < length)
			length = piece.length;
		if (length > GATHER_BYTES - 1)
			length = GATHER_BYTES - 1;
		if (bpf_probe_read_user(bytes + (offset & (GATHER_BYTES - 1)), length,
					(void *)piece.base))
			break;
		offset += length;
		if (offset > GATHER_BYTES - 1)
			break;
	}
	return offset;
}

static __always_inline void tell_datagram_sized(struct transfer *transfer,
						struct payload *payload, const __u32 room,
						__u32 capture)
{
	void *ring = my_ring();
	struct datagram_event *datagram =
		ring ? reserve(ring, sizeof(*datagram) + room, transfer->left) : NULL;
	struct event *event = &datagram->event;

	if (!datagram)
		return;
	event->hole = transfer->hole;
	if (payload->kind == PAYLOAD_VECTOR && room >= 2 * GATHER_BYTES) {
		capture = gather((char *)(datagram + 1), payload, capture);
	} else {
		bound(capture, room);
		if (bpf_probe_read_user(datagram + 1, capture, (void *)payload->address)) {
			capture = 0;
			event->hole = HOLE_UNREADABLE;
		}
	}
	event->kind = EVENT_DATAGRAM;
	event->direction = transfer->direction;
	event->flags = 0;
	event->captured = capture;
	event->time = transfer->time;
	event->connection = transfer->connection;
	event->position = transfer->position;
	event->length = transfer->left;
	datagram->peer = transfer->peer;
	submit(event);
}

/* A global function, as `tell`. */
__noinline int tell_datagram(__u32 slot)
{
	struct transfer *transfer = transfer_of(slot);
	struct payload *payload;
	__u32 capture;

	if (!transfer)
		return 0;
	payload = &transfer->payload;
	capture = transfer->left < transfer->budget ? transfer->left : transfer->budget;
	if (payload->kind == PAYLOAD_VECTOR) {
		struct user_iovec first;

		/* Mostly there is but one element, or the first one holds it all. */
		if (payload->count &&
		    !bpf_probe_read_user(&first, sizeof(first), (void *)payload->address) &&
		    first.length >= transfer->left) {
			payload->kind = PAYLOAD_BUFFER;
			payload->address = first.base;
			payload->count = first.length;
		}
	}
	if (payload->kind == PAYLOAD_BUFFER && capture > payload->count)
		capture = payload->count; /* it was longer than the buffer, and cut */
	if (payload->kind == PAYLOAD_VECTOR)
		tell_datagram_sized(transfer, payload, 2 * GATHER_BYTES, capture);
	else if (payload->kind != PAYLOAD_BUFFER)
		tell_datagram_sized(transfer, payload, 8, 0);
	else if (capture <= 128)
		tell_datagram_sized(transfer, payload, 128, capture);
	else if (capture <= 512)
		tell_datagram_sized(transfer, payload, 512, capture);
	else if (capture <= 2048)
		tell_datagram_sized(transfer, payload, 2048, capture);
	else
		tell_datagram_sized(transfer, payload, 2 * GATHER_BYTES, capture);
	return 0;
}

#endif
