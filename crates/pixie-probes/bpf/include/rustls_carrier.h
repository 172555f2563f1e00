/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which connections carry sessions of rustls, by what goes over the sockets of processes that have it:
 * what is sent begins as a record that was encrypted before, and what was read is decrypted where it was
 * read to (rustls.h).
 */
#ifndef PIXIE_RUSTLS_CARRIER_H
#define PIXIE_RUSTLS_CARRIER_H

/* What a thread read last. */
struct rustls_read {
	__u64 connection;
	__u64 address;
	__u64 last; /* its last bytes */
	__u32 length;
	__u32 unwanted; /* the connection is filtered out */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct rustls_read);
} rustls_reads SEC(".maps");

static __noinline void note_read(struct state *state, __u64 kind, __u64 address, __u32 length)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct rustls_read read = { .connection = state->connection, .address = address };

	read.length = length;
	read.unwanted = state->flags & STATE_EXCLUDED;
	if (kind != PAYLOAD_BUFFER ||
	    bpf_probe_read_user(&read.last, sizeof(read.last),
				(void *)(address + length - sizeof(read.last))))
		bpf_map_delete_elem(&rustls_reads, &thread);
	else
		bpf_map_update_elem(&rustls_reads, &thread, &read, BPF_ANY);
}

/* Whose ciphertext begins so; of rustls NULL also where another half has its place by now. */
static __noinline struct tls_printed *printed_in_turn(__u64 address)
{
	struct tls_print print = { .pid = bpf_get_current_pid_tgid() >> 32 };
	struct tls_printed *printed;
	struct tls_session *session;

	if (!address)
		return NULL;
	print.hash = print_of(address);
	printed = bpf_map_lookup_elem(&tls_prints, &print);
	if (!printed || !printed->session)
		return printed;
	session = find_session(printed->object, print.pid);
	if (!session || session->carrier || session->state.connection != printed->session)
		return NULL;
	return printed;
}

/* A transfer of a process that has rustls. */
static __noinline void seen_by_rustls(struct state *state, __u32 direction, __u64 kind, __u64 address,
				      __u32 length)
{
	struct tls_printed *printed;

	if (direction != SENT) {
		note_read(state, kind, address, length);
		return;
	}
	printed = printed_in_turn(first_address(kind, address));
	if (!printed)
		return;
	state->flags |= STATE_SECURED;
	make_session(printed->object, state->connection, printed->target,
		     printed->flags | (state->flags & STATE_EXCLUDED ? CALL_UNWANTED : 0));
}

#endif
