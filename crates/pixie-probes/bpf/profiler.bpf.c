/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Samples call stacks: of what a CPU does at an interval, and of where threads block. Stacks are
 * added up here; only what is new is written out in full.
 */
#include "include/kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "include/profiler/abi.h"
#include "include/profiler/maps.h"
#include "include/profiler/registers.h"
#include "include/profiler/unwind.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct mm_struct___arguments {
	unsigned long arg_start;
};
struct mm_struct;
struct task_struct___mm {
	struct mm_struct *mm;
};
struct task_struct___id {
	int pid;
};
struct task_struct___state {
	unsigned int __state;
};
struct task_struct___state_before_5_14 {
	long state;
};
#pragma clang attribute pop

/* Keeps the layouts in the object's BTF, where a test compares them with src/sampler/abi.rs. */
union any_profiler_record {
	struct stack_event event;
	struct news news;
	struct row row;
	struct chunk chunk;
} *layouts = NULL;

#define KINDS 2
/* Nanoseconds between two questions about the same process. */
#define PATIENCE 20000000ULL

SEC("raw_tp/identify")
int identify(void *context)
{
	self_pid = bpf_get_current_pid_tgid() >> 32;
	return 0;
}

static __always_inline bool wanted(__u32 pid)
{
	__u8 *choice;
	__u64 cgroup;

	if (pid == self_pid && !settings.include_self)
		return false;
	if (settings.filter_pids || settings.exclude_pids) {
		choice = bpf_map_lookup_elem(&pids, &pid);
		if (choice ? !*choice : settings.filter_pids)
			return false;
	}
	if (settings.filter_cgroups || settings.exclude_cgroups) {
		cgroup = bpf_get_current_cgroup_id();
		choice = bpf_map_lookup_elem(&cgroups, &cgroup);
		if (choice ? !*choice : settings.filter_cgroups)
			return false;
	}
	return true;
}

/* Begins the record of a stack of the current task. */
static __always_inline void begin(struct walk *walk, __u64 id, __u8 kind)
{
	struct stack_event *event = &walk->event;

	__builtin_memset(event, 0, sizeof(*event));
	event->key.pid = id >> 32;
	event->key.tid = settings.per_thread ? (__u32)id : 0;
	event->key.kind = kind;
	walk->most = kind == SAMPLE_CPU ? MAX_USER_FRAMES : BLOCKED_USER_FRAMES;
	walk->by_frame_pointer = 0;
	walk->start = 0;
	walk->end = 0;
}

static __always_inline __u64 arguments_of(__u64 mm)
{
	return BPF_CORE_READ((struct mm_struct___arguments *)mm, arg_start);
}

/* What is known of the current process; false when that is nothing. */
static __always_inline bool recall(struct walk *walk, __u64 mm)
{
	__u32 pid = walk->event.key.pid;
	struct process *process = bpf_map_lookup_elem(&processes, &pid);
	__u64 now = bpf_ktime_get_ns();

	if (!process) {
		struct process fresh = { .mm = mm, .asked = now };

		if (bpf_map_update_elem(&processes, &pid, &fresh, BPF_NOEXIST))
			TALLY(processes_full);
		else
			tell(pid, mm, NEWS_PROCESS);
		return false;
	}
	/*
	 * Looked at before it was sampled: if it has executed another program since, its arguments lie
	 * elsewhere.
	 */
	if (!process->mm && (!process->arguments || process->arguments == arguments_of(mm)))
		process->mm = mm;
	if (process->mm != mm || process->state == PROCESS_ASKED) {
		if (now - process->asked > PATIENCE) {
			process->asked = now;
			tell(pid, mm, NEWS_PROCESS);
		}
		return false;
	}
	if (process->state != PROCESS_KNOWN)
		return false;
	walk->mm = mm;
	walk->first = process->first;
	walk->count = process->count;
	walk->event.key.image = process->image;
	return true;
}

/* An address that is not known may be a library that was loaded since. */
static __always_inline void ask_again(struct walk *walk)
{
	__u32 pid = walk->event.key.pid;
	struct process *process = bpf_map_lookup_elem(&processes, &pid);
	__u64 now = bpf_ktime_get_ns();

	if (process && now - process->asked > PATIENCE) {
		process->asked = now;
		tell(pid, walk->mm, NEWS_ADDRESS);
	}
}

/* Walks the user stack of the current task, whose registers are in `words`. */
static __always_inline void walk_user(struct walk *walk, __u32 slot, struct task_struct *task)
{
	__u64 mm = (__u64)BPF_CORE_READ((struct task_struct___mm *)task, mm);

	if (!IS_USER(walk->words)) {
		walk->event.key.end = END_NO_REGISTERS;
		return;
	}
	TAKE_REGISTERS(walk->registers, walk->words);
	walk->pc = walk->words[R_PC];
	walk->exact = 1;
	if (IS_COMPATIBILITY(walk->words) || !mm || !recall(walk, mm)) {
		walk->frames[walk->event.kernel & (FRAMES - 1)] = walk->pc;
		walk->event.user = 1;
		/* Without memory: it is ending. */
		walk->event.key.end = IS_COMPATIBILITY(walk->words) ? END_COMPATIBILITY :
				      !mm			    ? END_UNREADABLE :
								      END_UNKNOWN_PROCESS;
		return;
	}
	for (int i = 0; i <= MAX_USER_FRAMES; i++) {
		if (take_frame(slot))
			break;
	}
	if (walk->event.key.end == END_NOT_MAPPED)
		ask_again(walk);
}

/* Registers with which the current task entered the kernel. */
static __always_inline void read_task_registers(struct walk *walk, struct task_struct *task)
{
	void *registers;

	/* bpf_task_pt_regs is there from Linux 5.15; before, they are at the top of the stack. */
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		registers = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
	else
		registers = BPF_CORE_READ(task, stack) + THREAD_SIZE -
			    bpf_core_type_size(struct pt_regs);
	if (bpf_probe_read_kernel(walk->words, R_WORDS * 8, registers))
		__builtin_memset(walk->words, 0, sizeof(walk->words));
}

/* The hash of what the stack consists of. */
static __always_inline void hash_frames(struct walk *walk)
{
	__u32 count = walk->event.kernel + walk->event.user;
	__u64 hash = ((__u64)walk->event.kernel << 32) | walk->event.user;

	for (int i = 0; i < MAX_KERNEL_FRAMES + MAX_USER_FRAMES; i++) {
		if (i >= count)
			break;
		hash = mix(hash, walk->frames[i & (FRAMES - 1)]);
	}
	walk->event.key.hash = hash;
}

static __always_inline void complete(struct walk *walk, struct task_struct *task)
{
	struct tallies *mine = my_tallies();

	hash_frames(walk);
	walk->event.start_time = BPF_CORE_READ(task, group_leader, start_boottime);
	walk->event.cgroup = bpf_get_current_cgroup_id();
	bpf_get_current_comm(walk->event.comm, sizeof(walk->event.comm));
	if (mine)
		mine->by_frame_pointer += walk->by_frame_pointer;
}

static __always_inline void tally_stack(struct stack_event *event)
{
	struct tallies *mine = my_tallies();
	__u8 end = event->key.end;

	if (!mine)
		return;
	mine->samples += 1;
	if (end < ENDS)
		mine->ends[end] += 1;
}

/*
 * Adds to the count of a stack. The first of a generation writes it out; where that fails the count
 * stays without a stack, and user space sees how much it lost. `size` is that of the event with its
 * frames.
 */
static __always_inline void count_in(void *counts, struct stack_event *event, __u32 size,
				     __u64 blocked)
{
	struct stack_count first = { .count = 1, .blocked = blocked };
	struct stack_count *known = bpf_map_lookup_elem(counts, &event->key);

	if (!known) {
		if (!bpf_map_update_elem(counts, &event->key, &first, BPF_NOEXIST)) {
			bpf_ringbuf_output(&stacks, event, size, BPF_RB_NO_WAKEUP);
			return;
		}
		/* Another CPU was first, or there is no room. */
		known = bpf_map_lookup_elem(counts, &event->key);
		if (!known) {
			TALLY(lost_table_full);
			return;
		}
	}
	__sync_fetch_and_add(&known->count, 1);
	if (blocked)
		__sync_fetch_and_add(&known->blocked, blocked);
}

static __always_inline void count_stack(struct stack_event *event, __u32 size, __u64 blocked)
{
	__u32 zero = 0;
	struct control *shared = bpf_map_lookup_elem(&control, &zero);
	volatile __u32 *generation;

	tally_stack(event);
	if (!shared)
		return;
	generation = &shared->generation;
	/* If it is turned over just now, before user space could know of us, we are in the next. */
	if (*generation & 1) {
		__sync_fetch_and_add(&shared->running[1], 1);
		if (*generation & 1) {
			event->generation = 1;
			count_in(&counts_odd, event, size, blocked);
			__sync_fetch_and_add(&shared->running[1], -1);
			return;
		}
		__sync_fetch_and_add(&shared->running[1], -1);
	}
	__sync_fetch_and_add(&shared->running[0], 1);
	if (!(*generation & 1)) {
		event->generation = 0;
		count_in(&counts_even, event, size, blocked);
		__sync_fetch_and_add(&shared->running[0], -1);
		return;
	}
	__sync_fetch_and_add(&shared->running[0], -1);
	__sync_fetch_and_add(&shared->running[1], 1);
	event->generation = 1;
	count_in(&counts_odd, event, size, blocked);
	__sync_fetch_and_add(&shared->running[1], -1);
}

/* The size of a record of at most so many frames. */
#define RECORD_SIZE(event, max)                                                          \
	({                                                                               \
		__u64 frames = (event)->kernel + (event)->user;                          \
											 \
		/* In the register that is used, where every verifier sees it. */        \
		asm volatile("if %[frames] < %[most] goto +1\n\t%[frames] = %[most]"     \
			     : [frames] "+r"(frames)                                     \
			     : [most] "i"(max));                                         \
		(__u32)(sizeof(struct stack_event) + frames * 8);                        \
	})

/* What a program of this type is given: include/uapi/linux/bpf_perf_event.h. */
struct perf_context {
	__u64 registers[R_WORDS];
};

SEC("perf_event")
int sample(struct perf_context *context)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct task_struct *task;
	struct walk *walk;
	__u32 slot = 0;
	long bytes;

	if (!(__u32)id) {
		TALLY(idle);
		return 0;
	}
	if (!wanted(id >> 32))
		return 0;
	walk = bpf_map_lookup_elem(&walks, &slot);
	if (!walk)
		return 0;
	task = (struct task_struct *)bpf_get_current_task();
	begin(walk, id, SAMPLE_CPU);
#pragma unroll
	for (int i = 0; i < R_WORDS; i++)
		walk->words[i] = context->registers[i];
	if (!IS_USER(walk->words)) {
		bytes = bpf_get_stack(context, walk->frames, MAX_KERNEL_FRAMES * 8, 0);
		walk->event.kernel = bytes > 0 ? (__u64)bytes / 8 : 0;
		if (BPF_CORE_READ(task, flags) & PF_KTHREAD)
			goto taken;
		read_task_registers(walk, task);
	}
	walk_user(walk, slot, task);
taken:
	complete(walk, task);
	count_stack(&walk->event, RECORD_SIZE(&walk->event, MAX_KERNEL_FRAMES + MAX_USER_FRAMES), 0);
	return 0;
}

#define TASK_DEAD 0x80

static __always_inline __u64 task_state(struct task_struct *task)
{
	struct task_struct___state *now = (void *)task;

	if (bpf_core_field_exists(now->__state))
		return BPF_CORE_READ(now, __state);
	return BPF_CORE_READ((struct task_struct___state_before_5_14 *)task, state);
}

/*
 * A thread stops running because it waits for something: keeps its stack until it runs again.
 * Interrupts are off here, but for those that cannot be: those have the other slot.
 */
static __always_inline void leave(void *context, struct task_struct *task)
{
	__u64 id = bpf_get_current_pid_tgid(), state = task_state(task);
	__u32 slot = 1, tid = id;
	struct walk *walk;
	long bytes;

	if (!state || state & TASK_DEAD || BPF_CORE_READ(task, flags) & PF_KTHREAD)
		return;
	if (!wanted(id >> 32))
		return;
	walk = bpf_map_lookup_elem(&walks, &slot);
	if (!walk)
		return;
	begin(walk, id, SAMPLE_BLOCKED);
	bytes = bpf_get_stack(context, walk->frames, BLOCKED_KERNEL_FRAMES * 8, 0);
	walk->event.kernel = bytes > 0 ? (__u64)bytes / 8 : 0;
	read_task_registers(walk, task);
	walk_user(walk, slot, task);
	complete(walk, task);
	walk->since = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&blocked, &tid, &walk->since, BPF_ANY))
		TALLY(blocked_lost);
}

/* A thread runs again: counts its stack, if it waited for long. */
static __always_inline void return_to(struct task_struct *task)
{
	__u32 tid = BPF_CORE_READ((struct task_struct___id *)task, pid);
	struct blocked *known;
	__u64 waited;

	if (!tid)
		return;
	known = bpf_map_lookup_elem(&blocked, &tid);
	if (!known)
		return;
	waited = bpf_ktime_get_ns() - known->since;
	if (waited >= settings.off_cpu_threshold)
		count_stack(&known->event, RECORD_SIZE(&known->event, BLOCKED_FRAMES), waited);
	bpf_map_delete_elem(&blocked, &tid);
}

/* bool preempt, struct task_struct *previous, struct task_struct *next */
SEC("raw_tp/sched_switch")
int switched(__u64 *context)
{
	return_to((struct task_struct *)context[2]);
	if (!(__u8)context[0])
		leave(context, (struct task_struct *)context[1]);
	return 0;
}
