/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Connections: one state a socket, found by the socket itself, so that descriptors may be
 * duplicated, passed on and reused as they like.
 *
 * The file that includes this has defined
 *   READ(pointer, field)    how a field of a kernel object is read
 *   new_connection          the number of a new connection
 * and defines
 *   find_state, make_state  where states are kept
 */
#ifndef PIXIE_CONNECTION_H
#define PIXIE_CONNECTION_H

enum state_flag {
	STATE_EXCLUDED = 1, /* not wanted in this process */
	STATE_IGNORED = 2,  /* user space said that nobody parses it */
	STATE_SENT = 4,     /* something was sent, so that position[SENT] is known */
	STATE_RECEIVED = 8,
	STATE_ANNOUNCED = 16, /* user space knows of it */
	STATE_SECURED = 32,   /* it is known which TLS session it carries */
};

#define EARLY_TRANSFERS 32

struct state {
	__u64 connection;
	__u64 socket_inode; /* tells apart sockets that had the same address */
	__u64 next_look;   /* when to look for a verdict again */
	__u32 pid;         /* the process that it was announced in */
	__u32 position[2]; /* after the last byte that was transferred */
	__u32 run_left;    /* bytes still to be captured of this run */
	__u8 early;        /* so many transfers more look for a verdict each */
	__u8 run_direction;
	__u8 transport;
	__u8 flags;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u8);
} pids SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u8);
} cgroups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u16);
	__type(value, __u8);
} ports SEC(".maps");

/* Written by user space, read until it has spoken. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u8);
} verdicts SEC(".maps");

/* The tracer itself, as the kernel knows it: inside a pid namespace it does not know its own pid. */
__u32 self_pid = 0;

SEC("raw_tp/identify")
int identify(void *ctx)
{
	self_pid = bpf_get_current_pid_tgid() >> 32;
	return 0;
}

static __always_inline __u8 transport_of(struct sock *sk)
{
	__u16 family = READ(sk, __sk_common.skc_family);
	__u16 type = READ(sk, sk_type);
	__u16 protocol = READ(sk, sk_protocol);

	if (family == AF_INET || family == AF_INET6) {
		if (type == SOCK_STREAM && (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP))
			return TRANSPORT_TCP;
		if (type == SOCK_DGRAM && protocol == IPPROTO_UDP)
			return TRANSPORT_UDP;
	} else if (family == AF_UNIX) {
		return type == SOCK_STREAM ? TRANSPORT_UNIX_STREAM : TRANSPORT_UNIX_DATAGRAM;
	}
	return 0;
}

static __always_inline bool is_datagram(__u8 transport)
{
	return transport == TRANSPORT_UDP || transport == TRANSPORT_UNIX_DATAGRAM;
}

static __always_inline bool port_wanted(struct sock *sk, __be16 peer)
{
	__u16 local = READ(sk, __sk_common.skc_num);
	__u16 remote = bpf_ntohs(peer);

	return bpf_map_lookup_elem(&ports, &local) || bpf_map_lookup_elem(&ports, &remote);
}

static __always_inline bool process_wanted(__u32 pid)
{
	if (pid == self_pid && !settings.include_self)
		return false;
	if (settings.filter_pids || settings.exclude_pids) {
		__u8 *wanted = bpf_map_lookup_elem(&pids, &pid);

		if (wanted ? !*wanted : settings.filter_pids)
			return false;
	}
	if (settings.filter_cgroups || settings.exclude_cgroups) {
		__u64 cgroup = bpf_get_current_cgroup_id();
		__u8 *wanted = bpf_map_lookup_elem(&cgroups, &cgroup);

		if (wanted ? !*wanted : settings.filter_cgroups)
			return false;
	}
	return true;
}

/*
 * Sockets of the kernel's own (NFS, iSCSI) are used from inside anybody's system calls, whose
 * registers then tell of something else.
 */
static __always_inline bool is_of_kernel(struct sock *sk)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	return (BPF_CORE_READ(task, flags) & PF_KTHREAD) || !BPF_CORE_READ(sk, sk_socket, file);
}

static __always_inline bool wanted(struct sock *sk, struct state *state, __u32 pid)
{
	if (is_of_kernel(sk) || !process_wanted(pid))
		return false;
	/* Of datagrams, it is asked about every one: see datagram_wanted. */
	if (!settings.filter_ports || state->transport == TRANSPORT_UDP)
		return true;
	return state->transport == TRANSPORT_TCP &&
	       port_wanted(sk, READ(sk, __sk_common.skc_dport));
}

static __always_inline void copy_address(struct sock *sk, struct address *local,
					 struct address *remote)
{
	__u16 family = READ(sk, __sk_common.skc_family);

	local->family = remote->family = family;
	local->port = bpf_htons(READ(sk, __sk_common.skc_num));
	remote->port = READ(sk, __sk_common.skc_dport);
	if (family == AF_INET) {
		*(__be32 *)local->bytes = READ(sk, __sk_common.skc_rcv_saddr);
		*(__be32 *)remote->bytes = READ(sk, __sk_common.skc_daddr);
	} else {
		bpf_probe_read_kernel(local->bytes, 16, &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_probe_read_kernel(remote->bytes, 16, &sk->__sk_common.skc_v6_daddr);
	}
}

/*
 * A socket that was accepted shares its port's bucket with the listener; one that connected from a
 * port of the kernel's choosing has a bucket that refuses to be shared (fastreuse is -1, see
 * __inet_hash_connect in net/ipv4/inet_hashtables.c).
 */
static __always_inline __u8 tcp_role(struct sock *sk)
{
	struct inet_connection_sock *connection = (struct inet_connection_sock *)sk;
	struct inet_bind_bucket *bucket = BPF_CORE_READ(connection, icsk_bind_hash);

	if (!bucket)
		return ROLE_UNKNOWN;
	return BPF_CORE_READ(bucket, fastreuse) < 0 ? ROLE_CLIENT : ROLE_SERVER;
}

static __always_inline void describe(struct open_event *open, struct state *state, __u32 pid)
{
	struct task_struct *leader =
		BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), group_leader);

	__builtin_memset(open, 0, sizeof(*open));
	open->event.kind = EVENT_OPEN;
	open->event.time = bpf_ktime_get_ns();
	open->event.connection = state->connection;
	open->start_time = BPF_CORE_READ(leader, start_boottime);
	open->cgroup = bpf_get_current_cgroup_id();
	open->pid = pid;
	open->transport = state->transport;
	bpf_probe_read_kernel_str(open->comm, sizeof(open->comm), &leader->comm);
}

static __always_inline bool announce_inet(void *ring, struct sock *sk, struct state *state,
					  __u32 pid)
{
	struct open_event *open = reserve(ring, sizeof(*open), 0);

	if (!open)
		return false;
	describe(open, state, pid);
	copy_address(sk, &open->local, &open->remote);
	if (state->transport == TRANSPORT_TCP)
		open->role = tcp_role(sk);
	submit(&open->event);
	return true;
}

/*
 * The name, a struct sockaddr_un, is the flexible end of struct unix_address: it begins where the
 * struct's own size ends. Its first two bytes are the family.
 */
static __always_inline __u32 unix_path(char *path, struct sock *sk)
{
	struct unix_address *address = BPF_CORE_READ((struct unix_sock *)sk, addr);
	__u32 length;

	if (!address)
		return 0;
	length = BPF_CORE_READ(address, len);
	if (length <= 2)
		return 0;
	length -= 2;
	if (length > UNIX_PATH)
		length = UNIX_PATH;
	bpf_probe_read_kernel(path, length,
			      (char *)address + bpf_core_type_size(struct unix_address) + 2);
	return length;
}

static __always_inline bool announce_unix(void *ring, struct sock *sk, struct state *state,
					  __u32 pid)
{
	struct open_unix_event *open = reserve(ring, sizeof(*open), 0);
	struct sock *peer;

	if (!open)
		return false;
	describe(&open->open, state, pid);
	open->local_length = unix_path(open->local_path, sk);
	peer = BPF_CORE_READ((struct unix_sock *)sk, peer);
	open->remote_length = peer ? unix_path(open->remote_path, peer) : 0;
	if (state->transport == TRANSPORT_UNIX_STREAM && !open->local_length != !open->remote_length)
		open->open.role = open->local_length ? ROLE_SERVER : ROLE_CLIENT;
	open->open.local.family = open->open.remote.family = AF_UNIX;
	submit(&open->open.event);
	return true;
}

/* First sight of a socket, or first sight of it in this process. */
static __noinline void announce(struct sock *sk, struct state *state, __u32 pid)
{
	void *ring = my_ring();
	bool told;

	if (!ring)
		return;
	if (!wanted(sk, state, pid)) {
		state->flags |= STATE_EXCLUDED;
		state->pid = pid;
		return;
	}
	state->flags &= ~STATE_EXCLUDED;
	state->flags |= STATE_ANNOUNCED;
	if (state->transport == TRANSPORT_TCP || state->transport == TRANSPORT_UDP)
		told = announce_inet(ring, sk, state, pid);
	else
		told = announce_unix(ring, sk, state, pid);
	/*
	 * Only now, so that no other thread's transfer comes before it; two threads may both say it.
	 * Without room for it, it is said again with the next transfer.
	 */
	if (told)
		state->pid = pid;
}

/*
 * Fills in a new state; false for sockets that are not traced. The number is given here, where
 * threads that use the socket at the same time agree on one state.
 */
static __always_inline bool begin(struct state *state, struct sock *sk)
{
	state->transport = transport_of(sk);
	if (!state->transport)
		return false;
	state->early = EARLY_TRANSFERS;
	state->connection = new_connection(sk);
	return true;
}

#endif
