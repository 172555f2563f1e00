/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* For programs whose arguments the verifier knows the types of: plain loads, and storage that
 * hangs on the socket and goes with it. */
#ifndef PIXIE_ACCESS_H
#define PIXIE_ACCESS_H

#define READ(pointer, field) ((pointer)->field)

/* The socket's cookie, which no other socket has until the next boot. */
static __always_inline __u64 new_connection(struct sock *sk)
{
	return bpf_get_socket_cookie(sk);
}

#include "connection.h"

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __s32);
	__type(value, struct state);
} states SEC(".maps");

static __always_inline struct state *find_state(struct sock *sk)
{
	return bpf_sk_storage_get(&states, sk, NULL, 0);
}

static __always_inline struct state *make_state(struct sock *sk)
{
	struct state *state = find_state(sk), fresh = {};

	if (state || !begin(&fresh, sk))
		return state;
	state = bpf_sk_storage_get(&states, sk, &fresh, BPF_SK_STORAGE_GET_F_CREATE);
	/* None if another thread got there first: then there is its. */
	return state ? state : find_state(sk);
}

/* What hangs on the socket goes with it. */
static __always_inline void forget_state(struct sock *sk)
{
}

static __always_inline struct tcp_sock *as_tcp(struct sock *sk)
{
	return bpf_skc_to_tcp_sock(sk);
}

#endif
