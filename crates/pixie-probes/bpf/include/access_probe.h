/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* For programs that find the socket by a descriptor: checked reads, and states in a table by the
 * socket's address. */
#ifndef PIXIE_ACCESS_H
#define PIXIE_ACCESS_H

#define READ(pointer, field) BPF_CORE_READ(pointer, field)

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} connections_seen SEC(".maps");

/* A number that no other connection of this tracer has: CPU and count. 0 when there is none. These
 * programs are not preempted, so that the count needs no atomic operation. */
static __always_inline __u64 new_connection(struct sock *sk)
{
	__u32 zero = 0;
	__u64 *seen = bpf_map_lookup_elem(&connections_seen, &zero);

	if (!seen)
		return 0;
	*seen += 1;
	return ((__u64)bpf_get_smp_processor_id() << 48) | *seen;
}

#include "connection.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct state);
} states SEC(".maps");

static __always_inline struct state *find_state(struct sock *sk)
{
	__u64 key = (__u64)sk;

	return bpf_map_lookup_elem(&states, &key);
}

/* `inode` is that of the socket's file: another one means another socket at the same address. */
static __always_inline struct state *make_state(struct sock *sk, __u64 inode)
{
	__u64 key = (__u64)sk;
	struct state *state = bpf_map_lookup_elem(&states, &key);

	if (state && state->socket_inode == inode)
		return state;

	struct state fresh = { .socket_inode = inode };

	if (!begin(&fresh, sk))
		return NULL;
	if (state)
		bpf_map_delete_elem(&states, &key);
	/* Another thread's may have got there first. */
	bpf_map_update_elem(&states, &key, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&states, &key);
}

static __always_inline void forget_state(struct sock *sk)
{
	__u64 key = (__u64)sk;

	bpf_map_delete_elem(&states, &key);
}

static __always_inline struct tcp_sock *as_tcp(struct sock *sk)
{
	return (struct tcp_sock *)sk;
}

/* The socket behind a descriptor of the current task; `inode` is that of its file. */
static __always_inline struct sock *socket_of(__u32 descriptor, __u64 *inode)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **slots = BPF_CORE_READ(table, fd);
	struct file *file = NULL;
	struct socket *socket;
	struct inode *node;

	if (descriptor >= BPF_CORE_READ(table, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), slots + descriptor);
	if (!file)
		return NULL;
	node = BPF_CORE_READ(file, f_inode);
	if ((BPF_CORE_READ(node, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	*inode = BPF_CORE_READ(node, i_ino);
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

#endif
