/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Rings to user space, and the account of what went into them and what did not. */
#ifndef PIXIE_ACCOUNT_H
#define PIXIE_ACCOUNT_H

const volatile struct settings settings = {};

struct ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
};

/*
 * One ring a CPU, or a group of CPUs: a ring has one lock. User space makes them, of the size that
 * it wants, and puts them here.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct ring);
} rings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct account);
} account SEC(".maps");

static __always_inline struct counters *my_counters(void)
{
	__u32 zero = 0;
	struct account *all = bpf_map_lookup_elem(&account, &zero);

	return all ? &all->slots[bpf_get_smp_processor_id() % COUNTER_SLOTS] : NULL;
}

static __always_inline void *my_ring(void)
{
	__u32 shard = bpf_get_smp_processor_id();
	__u32 shards = settings.shards;

	if (shard >= shards)
		shard %= shards;
	return bpf_map_lookup_elem(&rings, &shard);
}

/*
 * Slots are shared by CPUs 64 apart, and fentry programs can be preempted: add atomically. Of adding
 * a constant 0 the compiler would make an atomic OR, which Linux before 5.12 lacks.
 */
static __always_inline void add(__u64 *counter, __u64 amount)
{
	if (amount)
		__sync_fetch_and_add(counter, amount);
}

static __always_inline void count_reserved(__u32 captured)
{
	struct counters *mine = my_counters();

	if (!mine)
		return;
	add(&mine->reserved, 1);
	add(&mine->captured_bytes, captured);
}

static __always_inline void count_unmatched(void)
{
	struct counters *mine = my_counters();

	if (mine)
		add(&mine->unmatched, 1);
}

static __always_inline void count_unproven(void)
{
	struct counters *mine = my_counters();

	if (mine)
		add(&mine->unproven, 1);
}

static __always_inline void count_dropped(__u64 events, __u64 bytes)
{
	struct counters *mine = my_counters();

	if (!mine)
		return;
	add(&mine->dropped, events);
	add(&mine->dropped_bytes, bytes);
}

/* `size` must be a constant. `bytes` is what user space will not hear of if there is no room. */
static __always_inline void *reserve(void *ring, __u64 size, __u64 bytes)
{
	void *event = bpf_ringbuf_reserve(ring, size, 0);

	if (!event)
		count_dropped(1, bytes);
	return event;
}

/*
 * Bounds a value where the verifier can see it: in the very register that is then used. Written in
 * C, the compiler may check another copy, or leave the check out where it knows the bound already;
 * older verifiers do not follow it there.
 */
#define bound(value, limit)                                                                     \
	do {                                                                                    \
		__u64 bounded = (value);                                                        \
		asm volatile("if %[bounded] < %[most] goto +1\n\t%[bounded] = %[most]"        \
			     : [bounded] "+r"(bounded)                                         \
			     : [most] "i"(limit));                                              \
		(value) = bounded;                                                              \
	} while (0)

/* User space polls: a wake-up an event would cost more than everything else together. */
static __always_inline void submit(struct event *event)
{
	count_reserved(event->captured);
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

static __always_inline struct event *begin_event(__u8 kind)
{
	void *ring = my_ring();
	struct event *event = ring ? reserve(ring, sizeof(*event), 0) : NULL;

	if (!event)
		return NULL;
	__builtin_memset(event, 0, sizeof(*event));
	event->kind = kind;
	event->time = bpf_ktime_get_ns();
	return event;
}

#endif
