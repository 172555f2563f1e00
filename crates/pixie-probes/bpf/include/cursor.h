/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * sendmmsg and recvmmsg transfer many messages in one system call, one event each; which of them an
 * event is about has to be counted. They end with the last message or with an error, and both are
 * seen, so the count starts anew with every call. (A partial send ends sendmmsg, too, which is not
 * seen; a program then goes on elsewhere in its vector.)
 */
#ifndef PIXIE_CURSOR_H
#define PIXIE_CURSOR_H

struct cursor {
	__u64 vector;
	__u64 index;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64); /* the task */
	__type(value, struct cursor);
} cursors SEC(".maps");

static __always_inline bool has_messages(struct call *call)
{
	return call->number == SYS_SENDMMSG || call->number == SYS_RECVMMSG;
}

static __always_inline void end_cursor(struct call *call)
{
	__u64 task = bpf_get_current_pid_tgid();

	if (has_messages(call))
		bpf_map_delete_elem(&cursors, &task);
}

/* False for system calls that have but one message. */
static __always_inline bool locate_message(struct payload *payload, struct call *call)
{
	__u64 task = bpf_get_current_pid_tgid();
	struct cursor fresh = { .vector = call->arguments[1] };
	struct cursor *cursor;
	__u64 index = 0;

	if (!has_messages(call))
		return false;
	__builtin_memset(payload, 0, sizeof(*payload));
	/* When its time is up, recvmmsg ends after any message, and nothing is seen of that: if there
	 * are more, which one this is cannot be told. */
	if (call->number == SYS_RECVMMSG && call->arguments[4] && (__u32)call->arguments[2] > 1)
		return true;
	cursor = bpf_map_lookup_elem(&cursors, &task);
	if (cursor && cursor->vector == call->arguments[1])
		index = cursor->index;
	if (index + 1 >= (__u32)call->arguments[2]) {
		bpf_map_delete_elem(&cursors, &task);
	} else {
		fresh.index = index + 1;
		bpf_map_update_elem(&cursors, &task, &fresh, BPF_ANY);
	}
	payload->kind = PAYLOAD_MESSAGE;
	payload->address = call->arguments[1] + index * sizeof(struct user_message_vector);
	return true;
}

#endif
