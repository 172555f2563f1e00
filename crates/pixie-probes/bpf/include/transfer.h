/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What all programs come to: bytes went over a socket, and are told to user space. */
#ifndef PIXIE_TRANSFER_H
#define PIXIE_TRANSFER_H

#define SECOND 1000000000ULL
#define RESUME_BYTES 256  /* of each transfer, once a run's budget is spent; of ignored ones */
#define PIECE_BYTES 16384 /* the most that one event carries */
#define TAIL_BYTES 64     /* of the end of a transfer of which the middle is not captured */
#define VECTOR_ELEMENTS 64 /* programs that gather a message write each of its fields as one */
#define BUFFER_PIECES 64

/* A transfer that is being told of, in as many events as it takes. */
struct transfer {
	__u64 time;
	__u64 connection;
	__u32 position;
	__u32 left;   /* bytes not told yet */
	__u32 budget; /* bytes that may still be captured */
	__u8 direction;
	__u8 hole;
	__u8 flags;
	__u8 _pad;
	__u32 other; /* as in an event */
	__u32 _pad2;
	struct address peer;    /* of a datagram */
	struct payload payload; /* of a datagram */
};

/*
 * Kept in a map, whose content the verifier does not follow: on the stack it would know another
 * range for every path through a loop, and have to follow each of them in every round. One a
 * program, because some can be preempted; the kernel does not run the same one twice on a CPU.
 */
#define SLOTS 16

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, struct transfer);
} transfers SEC(".maps");

static __always_inline struct transfer *transfer_of(__u32 slot)
{
	return bpf_map_lookup_elem(&transfers, &slot);
}

/* Not a slot of the CPU's: programs on user space's functions can be preempted by themselves. */
#define THREAD_SLOT SLOTS

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct transfer);
} transfers_of_threads SEC(".maps");

static __always_inline struct transfer *transfer_of_thread(void)
{
	__u64 thread = bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&transfers_of_threads, &thread);
}

/* Tells of `length` bytes of which `capture` are captured. `room` must be a constant. */
static __always_inline void tell_sized(void *ring, struct transfer *transfer, const __u32 room,
				       __u64 address, __u32 length, __u32 capture)
{
	struct event *event = reserve(ring, sizeof(*event) + room, length);
	__u8 hole = transfer->hole;

	if (!event)
		return;
	if (room) {
		bound(capture, room);
		if (bpf_probe_read_user(event + 1, capture, (void *)address)) {
			capture = 0;
			hole = HOLE_UNREADABLE;
		}
	} else {
		capture = 0;
	}
	event->kind = EVENT_DATA;
	event->direction = transfer->direction;
	event->hole = hole;
	event->flags = transfer->flags;
	event->captured = capture;
	event->time = transfer->time;
	event->connection = transfer->connection;
	event->position = transfer->position;
	event->length = length;
	event->other = transfer->other;
	submit(event);
}

/*
 * A ring's records must have a size that the verifier knows, so there is a ladder of sizes: what is
 * reserved is mostly at most two thirds more than what is used.
 *
 * A global function, which is verified once and not at every call; such take numbers only.
 */
__noinline int tell(__u32 slot, __u64 address, __u32 length, __u32 capture)
{
	struct transfer *transfer = slot == THREAD_SLOT ? transfer_of_thread() : transfer_of(slot);
	void *ring = my_ring();

	if (!transfer || !ring)
		return 0;
	if (!capture)
		tell_sized(ring, transfer, 0, address, length, capture);
	else if (capture <= 96)
		tell_sized(ring, transfer, 96, address, length, capture);
	else if (capture <= 160)
		tell_sized(ring, transfer, 160, address, length, capture);
	else if (capture <= 256)
		tell_sized(ring, transfer, 256, address, length, capture);
	else if (capture <= 384)
		tell_sized(ring, transfer, 384, address, length, capture);
	else if (capture <= 640)
		tell_sized(ring, transfer, 640, address, length, capture);
	else if (capture <= 1280)
		tell_sized(ring, transfer, 1280, address, length, capture);
	else if (capture <= 2560)
		tell_sized(ring, transfer, 2560, address, length, capture);
	else if (capture <= 4608)
		tell_sized(ring, transfer, 4608, address, length, capture);
	else if (capture <= 8704)
		tell_sized(ring, transfer, 8704, address, length, capture);
	else
		tell_sized(ring, transfer, PIECE_BYTES, address, length, capture);
	return 0;
}

/* The next `length` bytes of the transfer lie at `address`. */
static __always_inline void tell_next(struct transfer *transfer, __u32 slot, __u64 address,
				      __u32 length)
{
	__u32 capture = length < transfer->budget ? length : transfer->budget;

	if (capture > PIECE_BYTES)
		capture = PIECE_BYTES;
	tell(slot, address, length, capture);
	transfer->position += length;
	transfer->left -= length;
	transfer->budget -= capture;
}

/*
 * How much of the end is captured apart from the rest, because there is a hole before it: what ends
 * with a transfer often says so in its last bytes, as a chunked body does.
 */
static __always_inline __u32 tail_of(struct transfer *transfer, __u64 length)
{
	if (length > transfer->left - transfer->budget)
		length = transfer->left - transfer->budget;
	return length < TAIL_BYTES ? length : TAIL_BYTES;
}

/* What is left are these last bytes. */
static __always_inline void tell_tail(struct transfer *transfer, __u32 slot, __u64 address,
				      __u32 length)
{
	transfer->left = transfer->budget = length;
	tell_next(transfer, slot, address, length);
}

static __always_inline void tell_buffer(struct transfer *transfer, __u32 slot, __u64 address)
{
	__u32 tail = 0;

	if (transfer->left > transfer->budget)
		tail = tail_of(transfer, transfer->left);
	transfer->left -= tail;
	for (int piece = 0; piece < BUFFER_PIECES; piece++) {
		__u32 length = transfer->left;

		if (!length)
			break;
		/* The last piece takes what is not captured with it. */
		if (transfer->budget > PIECE_BYTES && length > PIECE_BYTES &&
		    piece != BUFFER_PIECES - 1)
			length = PIECE_BYTES;
		tell_next(transfer, slot, address, length);
		address += length;
	}
	if (tail)
		tell_tail(transfer, slot, address, tail);
}

/* The last element of a vector begins behind `ahead` bytes that were not told of yet. */
static __always_inline void tell_last(struct transfer *transfer, __u32 slot, __u64 address,
				      __u32 ahead)
{
	__u32 length = transfer->left - ahead;
	__u32 tail;

	if (!ahead) {
		tell_buffer(transfer, slot, address);
		return;
	}
	transfer->budget = 0;
	tail = tail_of(transfer, length);
	tell_next(transfer, slot, 0, transfer->left - tail);
	tell_tail(transfer, slot, address + length - tail, tail);
}

/* A global function, as `tell`. */
__noinline int tell_vector(__u32 slot, __u64 address, __u64 elements)
{
	struct transfer *transfer = transfer_of(slot);
	__u32 ahead = 0;

	if (!transfer)
		return 0;
	for (int element = 0; element < VECTOR_ELEMENTS; element++) {
		struct user_iovec piece;

		if (element >= elements)
			break;
		if (bpf_probe_read_user(&piece, sizeof(piece), (void *)address)) {
			transfer->hole = HOLE_UNREADABLE;
			break;
		}
		address += sizeof(piece);
		if (piece.length >= transfer->left - ahead) {
			tell_last(transfer, slot, piece.base, ahead);
			return 0;
		}
		if (ahead || !transfer->budget)
			ahead += piece.length;
		else if (piece.length)
			tell_next(transfer, slot, piece.base, piece.length);
	}
	tell(slot, 0, transfer->left, 0);
	return 0;
}

/* A FIN that was read takes a place in the sequence, but is no byte. */
static __always_inline __u32 received_position(struct sock *sk, struct tcp_sock *tcp)
{
	__u32 position = READ(tcp, copied_seq);

	if (READ(sk, __sk_common.skc_flags) & (1 << SOCK_DONE) && position == READ(tcp, rcv_nxt))
		position -= 1;
	return position;
}

/* The position that TCP is at, from an arbitrary origin. */
static __always_inline __u32 tcp_position(struct sock *sk, struct tcp_sock *tcp, __u32 direction)
{
	return direction == SENT ? READ(tcp, write_seq) : received_position(sk, tcp);
}

/*
 * Another thread may have sent what this answers, and its call, at whose end that is told, may not
 * have ended yet: says how far this end had sent, where not all of that was told.
 */
static __always_inline void note_untold(struct transfer *transfer, struct sock *sk,
					struct tcp_sock *tcp, struct state *state)
{
	__u32 sent = READ(tcp, write_seq);

	/* A FIN takes a place in the sequence, but is no byte. */
	if (READ(sk, sk_shutdown) & SEND_SHUTDOWN)
		sent -= 1;
	if (state->flags & STATE_SENT ? sent == state->position[SENT] : !READ(tcp, data_segs_out))
		return;
	transfer->other = sent;
	transfer->flags |= FLAG_OTHER_KNOWN;
}

/*
 * Where the first byte of this transfer stands in its stream. TCP keeps count itself, which needs
 * no state of ours, tells of transfers that were missed, and works for connections older than we.
 */
static __always_inline void place(struct transfer *transfer, struct sock *sk, struct state *state,
				  __u32 direction, __u32 length, __u32 behind)
{
	struct tcp_sock *tcp = NULL;
	__u32 position = state->position[direction & 1];

	if (state->transport == TRANSPORT_TCP && READ(sk, sk_protocol) == IPPROTO_TCP)
		tcp = as_tcp(sk);
	/* With kTLS on it, the sequence is that of the ciphertext: go on counting. */
	if (tcp && !READ(tcp, inet_conn.icsk_ulp_ops)) {
		position = tcp_position(sk, tcp, direction) - length - behind;
		if (direction == RECEIVED)
			note_untold(transfer, sk, tcp, state);
	}
	transfer->position = position;
	state->position[direction & 1] = position + length;
	state->flags |= direction == SENT ? STATE_SENT : STATE_RECEIVED;
}

/*
 * Asks what user space thinks of this connection. At first it is asked at every transfer, since the
 * sooner it speaks the less is told in vain; later now and then. An ignored connection is told of
 * when it is asked about: another protocol may be spoken by then.
 */
static __always_inline void look_for_verdict(struct state *state, __u64 time)
{
	__u8 *verdict = bpf_map_lookup_elem(&verdicts, &state->connection);

	state->flags &= ~STATE_IGNORED;
	state->next_look = time + SECOND / 8;
	if (!verdict)
		return;
	if (*verdict == VERDICT_IGNORE) {
		state->flags |= STATE_IGNORED;
		state->next_look = time + SECOND;
	} else if (*verdict == VERDICT_INTRODUCE) {
		/* With the next transfer. */
		state->pid = 0;
		bpf_map_delete_elem(&verdicts, &state->connection);
	}
}

/* True when this connection's bytes are to be told of; sets how many of them to capture. */
static __always_inline bool within_budget(struct state *state, struct transfer *transfer)
{
	__u32 length = transfer->left;

	if (state->early || transfer->time >= state->next_look) {
		if (state->early)
			state->early--;
		look_for_verdict(state, transfer->time);
		if (state->flags & STATE_IGNORED) {
			transfer->budget = RESUME_BYTES;
			state->early = 0;
			return true;
		}
	}
	if (state->flags & STATE_IGNORED)
		return false;
	if (is_datagram(state->transport)) {
		transfer->budget = settings.message_bytes;
		return true;
	}
	if (state->run_direction != transfer->direction + 1) {
		state->run_direction = transfer->direction + 1;
		state->run_left = settings.message_bytes;
	}
	transfer->budget = state->run_left > RESUME_BYTES ? state->run_left : RESUME_BYTES;
	state->run_left -= length < state->run_left ? length : state->run_left;
	return true;
}

#include "datagram.h"
#include "session.h"

static __always_inline void tell_stream(struct transfer *transfer, __u32 slot,
					struct payload *payload)
{
	if (payload->kind == PAYLOAD_MESSAGE)
		follow_message(payload);
	if (payload->kind == PAYLOAD_BUFFER) {
		tell_buffer(transfer, slot, payload->address);
	} else if (payload->kind == PAYLOAD_VECTOR) {
		tell_vector(slot, payload->address, payload->count);
	} else {
		transfer->hole = payload->kind == PAYLOAD_NOT_IN_USER ? HOLE_NOT_IN_USER :
									HOLE_UNREADABLE;
		tell(slot, 0, transfer->left, 0);
	}
}

static __always_inline void tell_transfer(__u32 slot, struct sock *sk, struct state *state,
					  __u32 direction, __u32 length, struct payload *payload)
{
	struct transfer *transfer = transfer_of(slot);
	__u32 pid = bpf_get_current_pid_tgid() >> 32;

	if (!transfer)
		return;
	transfer->left = length;
	transfer->direction = direction;
	transfer->hole = HOLE_LIMIT;
	transfer->flags = 0;
	if (!length) {
		if (direction != RECEIVED || is_datagram(state->transport) ||
		    !(READ(sk, sk_shutdown) & RCV_SHUTDOWN))
			return;
		transfer->flags = FLAG_END;
	}
	/*
	 * Functions that are called look at it there: before Linux 6.8 the verifier forgets that what
	 * they did depended on a value on their caller's stack, takes another value for the same, and
	 * removes the code that it would have needed.
	 */
	if (is_datagram(state->transport))
		transfer->payload = *payload;
	if (settings.filter_ports && state->transport == TRANSPORT_UDP) {
		find_peer(transfer, sk);
		if (!datagram_wanted(transfer, sk, state))
			return;
	}
	if (state->pid != pid)
		announce(sk, state, pid);
	/* Later than the announcement, whichever thread made it. */
	transfer->time = bpf_ktime_get_ns();
	place(transfer, sk, state, direction, length, payload->behind);
	if (state->flags & STATE_EXCLUDED)
		return;
	transfer->connection = state->connection;
	if (!within_budget(state, transfer))
		return;
	if (!length) {
		tell(slot, 0, 0, 0);
	} else if (is_datagram(state->transport)) {
		if (!settings.filter_ports)
			find_peer(transfer, sk);
		tell_datagram(slot);
	} else {
		tell_stream(transfer, slot, payload);
	}
}

/* `length` bytes went over `sk`; 0 for the end of what is received. `slot` is the program's. */
static __always_inline void transferred(__u32 slot, struct sock *sk, struct state *state,
					__u32 direction, __u32 length, struct payload *payload)
{
	__u64 kind = payload->kind, address = payload->address;

	tell_transfer(slot, sk, state, direction, length, payload);
	/* Afterwards, so that a hello is told of before the session that it begins. */
	if (settings.tls && length && seen_by_tls(state, direction, kind, address))
		seen_by_rustls(state, direction, kind, address, length);
}

#endif
