/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* For programs whose arguments the verifier knows the types of: plain loads, and storage that
 * hangs on the socket and goes with it. */
#ifndef PIXIE_ACCESS_H
#define PIXIE_ACCESS_H

#define READ(pointer, field) ((pointer)->field)

#include "connection.h"

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __s32);
	__type(value, struct state);
} states SEC(".maps");

/* For Linux before 5.11, which does not let tracing programs use storage. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct state);
} states_by_address SEC(".maps");

static __always_inline struct state *find_by_address(struct sock *sk)
{
	__u64 key = (__u64)sk;

	return bpf_map_lookup_elem(&states_by_address, &key);
}

/* Another inode means another socket at the same address. */
static __always_inline struct state *make_by_address(struct sock *sk)
{
	struct state fresh = { .socket_inode = BPF_CORE_READ(sk, sk_socket, file, f_inode, i_ino) };
	struct state *state = find_by_address(sk);
	__u64 key = (__u64)sk;

	if (state && state->socket_inode == fresh.socket_inode)
		return state;
	if (!begin(&fresh, sk))
		return NULL;
	if (state)
		bpf_map_delete_elem(&states_by_address, &key);
	/* Another thread's may have got there first. */
	bpf_map_update_elem(&states_by_address, &key, &fresh, BPF_NOEXIST);
	return find_by_address(sk);
}

static __always_inline struct state *find_state(struct sock *sk)
{
	if (!settings.socket_storage)
		return find_by_address(sk);
	return bpf_sk_storage_get(&states, sk, NULL, 0);
}

static __always_inline struct state *make_state(struct sock *sk)
{
	struct state *state, fresh = {};

	if (!settings.socket_storage)
		return make_by_address(sk);
	state = bpf_sk_storage_get(&states, sk, NULL, 0);
	if (state || !begin(&fresh, sk))
		return state;
	state = bpf_sk_storage_get(&states, sk, &fresh, BPF_SK_STORAGE_GET_F_CREATE);
	/* None if another thread got there first: then there is its. */
	return state ? state : bpf_sk_storage_get(&states, sk, NULL, 0);
}

/* What hangs on the socket goes with it. */
static __always_inline void forget_state(struct sock *sk)
{
	__u64 key = (__u64)sk;

	if (!settings.socket_storage)
		bpf_map_delete_elem(&states_by_address, &key);
}

static __always_inline struct tcp_sock *as_tcp(struct sock *sk)
{
	return bpf_skc_to_tcp_sock(sk);
}

#endif
