/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the profiler's programs and user space share. */
#ifndef PIXIE_PROFILER_MAPS_H
#define PIXIE_PROFILER_MAPS_H

enum {
	BPF_F_MMAPABLE = 1 << 10,
};

const volatile struct profiler_settings settings = {};

/* The profiler itself, as the kernel knows it: inside a pid namespace it does not know its own pid. */
__u32 self_pid = 0;

#define ARRAY(name, entries, value_type, flags)           \
	struct {                                          \
		__uint(type, BPF_MAP_TYPE_ARRAY);         \
		__uint(max_entries, entries);             \
		__uint(map_flags, flags);                 \
		__type(key, __u32);                       \
		__type(value, value_type);                \
	} name SEC(".maps")

#define HASH(name, entries, key_type, value_type)         \
	struct {                                          \
		__uint(type, BPF_MAP_TYPE_HASH);          \
		__uint(max_entries, entries);             \
		__type(key, key_type);                    \
		__type(value, value_type);                \
	} name SEC(".maps")

/* 1: wanted, 0: not. */
HASH(pids, 4096, __u32, __u8);
HASH(cgroups, 4096, __u64, __u8);

/* Processes, and what they have mapped. */
HASH(processes, 16384, __u32, struct process);
ARRAY(mappings, 65536, struct mapping, BPF_F_MMAPABLE);

/* Unwind tables. */
ARRAY(tables, 8192, struct table, BPF_F_MMAPABLE);
ARRAY(pages, 262144, struct page, BPF_F_MMAPABLE);
ARRAY(rules, 16384, struct rule, BPF_F_MMAPABLE);

/* By size: from 5.15 to 6.2 a map of a known type is another kind than those that user space makes. */
struct chunk_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct chunk));
};

/* User space makes them as they are needed. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__array(values, struct chunk_map);
} chunks SEC(".maps");

/* Stacks, counted; those that are new go into the ring with their frames. */
ARRAY(control, 1, struct control, BPF_F_MMAPABLE);
HASH(counts_even, 16384, struct stack_key, struct stack_count);
HASH(counts_odd, 16384, struct stack_key, struct stack_count);

/* Threads that block, by their id. */
HASH(blocked, 1, __u32, struct blocked);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} stacks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} news SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tallies);
} tallies SEC(".maps");

static __always_inline struct tallies *my_tallies(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&tallies, &zero);
}

#define TALLY(member)                                     \
	do {                                              \
		struct tallies *mine = my_tallies();      \
							  \
		if (mine)                                 \
			mine->member += 1;                \
	} while (0)

#endif
