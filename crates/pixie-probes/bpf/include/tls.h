/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Plaintext from inside TLS libraries: programs on their functions, as a call begins and as it
 * returns. What the arguments were is kept in between; the bytes are told of at the end, when it is
 * known how many there were.
 */
#ifndef PIXIE_TLS_H
#define PIXIE_TLS_H

/* What an event can say. The functions of libraries return no more; what a program asks for may be more. */
static __always_inline __u32 at_most(__u64 length)
{
	return length > 0x7fffffff ? 0x7fffffff : length;
}

/*
 * Of Go, another goroutine may read the answer before a write returns. So a write takes its place in the
 * stream as it begins, and what is read meanwhile says up to where there is something to be told of.
 */
static __always_inline void place_write(struct tls_call *call, struct tls_session *session)
{
	__u32 *position = &session->state.position[SENT];

	call->kind = TLS_PLACED_WRITE;
	call->began = bpf_ktime_get_ns();
	call->place = *position;
	session->placed = *position;
	*position += at_most(call->done);
	/* What is read from now on may be the answer: another message, with a budget of its own. */
	if (session->state.run_direction == RECEIVED + 1)
		session->state.run_direction = 0;
	__sync_fetch_and_add(&session->writing, 1);
}

/* What could not be written takes no place. */
static __always_inline void give_back(struct tls_call *call, struct tls_session *session, __u32 length)
{
	__u32 *position = &session->state.position[SENT], asked = at_most(call->done);

	if (length < asked && *position == call->place + asked)
		*position -= asked - length;
}

/* A function of Go's begins again when its stack has grown: this is no other call. */
static __always_inline bool begins_again(struct tls_call *call, struct tls_call *outer)
{
	return outer->kind == TLS_PLACED_WRITE && call->object == outer->object &&
	       call->frame == outer->frame && call->buffer == outer->buffer &&
	       call->done == outer->done;
}

/* What is known of the session's connection holds for this call, which may not use it at all. */
static __always_inline void knows_carrier(struct tls_call *call, struct tls_session *session)
{
	if (!session || !session->carrier)
		return;
	call->carrier = session->carrier;
	call->flags = session->state.flags & STATE_EXCLUDED ? CALL_UNWANTED : 0;
}

/* What this session had read before, by a call that was not seen to begin, is a gap. */
static __noinline void tell_missed(struct tls_caller *caller, struct tls_session *session)
{
	__u32 *missed = bpf_map_lookup_elem(&tls_missed, caller);
	__u32 *position = &session->state.position[RECEIVED];

	if (!missed)
		return;
	if (!(session->state.flags & STATE_EXCLUDED))
		tell_gap(session, RECEIVED, HOLE_UNREADABLE, *position, *missed);
	*position += *missed;
	bpf_map_delete_elem(&tls_missed, caller);
}

/*
 * Calls inside calls count once. On the same object, what is inside has all that the outer one was
 * asked for (SSL_write_ex calls SSL_write_ex2), so it takes its place; but for handshakes, which
 * carry nothing, and for early data, which is sent only after the inner call, together with the
 * handshake. On another object it is TLS inside TLS, and both count. A call of which the return was not
 * seen harms nobody: the next on its object, or from as far up the stack, takes its place.
 */
static __noinline int begin_call(struct tls_caller *caller, struct tls_call *fresh)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct tls_call *outer;
	struct tls_session *session;

	if (!fresh->object || !process_wanted(pid))
		return 0;
	outer = bpf_map_lookup_elem(&tls_calls, caller);
	if (outer && outer->object && fresh->frame < outer->frame) {
		if (fresh->object != outer->object) {
			knows_carrier(fresh, find_session(fresh->object, pid));
			outer->nested |= NESTED_OTHER;
			bpf_map_update_elem(&tls_nested, caller, fresh, BPF_ANY);
			return 0;
		}
		if (fresh->kind == TLS_HANDSHAKE || outer->nested & NESTED_OWN)
			return 0;
	}
	if (outer && begins_again(fresh, outer))
		return 0;
	session = find_session(fresh->object, pid);
	/* It takes its place also if it is the first that is seen of a session. */
	if (!session && fresh->kind == TLS_GO_WRITE)
		session = replace_session(fresh->object, pid, fresh->target);
	knows_carrier(fresh, session);
	if (session && fresh->kind == TLS_GO_WRITE)
		place_write(fresh, session);
	if (outer) {
		*outer = *fresh;
		return 0;
	}
	bpf_map_update_elem(&tls_calls, caller, fresh, BPF_ANY);
	/* This is its first call that is seen to begin. */
	if (session && fresh->kind == TLS_READ)
		tell_missed(caller, session);
	return 0;
}

/* How many bytes were transferred. */
static __always_inline __u32 length_of_call(struct tls_call *call, __s64 result)
{
	__u64 length = result;

	if (call->kind == TLS_HANDSHAKE || result <= 0)
		return 0;
	if (call->done && call->kind < TLS_GO_WRITE && bpf_probe_read_user(&length, sizeof(length), (void *)call->done))
		return 0;
	return at_most(length);
}

static __always_inline struct transfer *begin_transfer(struct tls_call *call,
						       struct tls_session *session, __u32 length)
{
	struct transfer *transfer = transfer_of_thread();
	__u64 thread = bpf_get_current_pid_tgid();

	if (!transfer) {
		struct transfer fresh = {};

		bpf_map_update_elem(&transfers_of_threads, &thread, &fresh, BPF_ANY);
		transfer = transfer_of_thread();
		if (!transfer)
			return NULL;
	}
	transfer->left = length;
	transfer->direction = call->kind == TLS_READ ? RECEIVED : SENT;
	transfer->hole = call->kind == TLS_SEND_FILE ? HOLE_NOT_IN_USER : HOLE_LIMIT;
	transfer->flags = 0;
	transfer->other = 0;
	transfer->time = bpf_ktime_get_ns();
	transfer->connection = session->state.connection;
	return transfer;
}

/* What the current thread transfers lies at `address`. A global function, as `tell`. */
__noinline int tell_plaintext(__u64 address)
{
	struct transfer *transfer = transfer_of_thread();

	if (transfer)
		tell_buffer(transfer, THREAD_SLOT, address);
	return 0;
}

static __noinline void tell_call(struct tls_call *call, struct tls_session *session, __u32 length)
{
	/* Before the time is taken: what is not under way any more has an earlier one. */
	bool may_answer = call->kind == TLS_READ && session->writing;
	struct transfer *transfer = begin_transfer(call, session, length);
	__u32 *position;

	if (!transfer) {
		count_dropped(1, length);
		return;
	}
	position = &session->state.position[transfer->direction & 1];
	if (call->kind == TLS_PLACED_WRITE) {
		transfer->position = call->place;
		if (session->answered > call->began)
			transfer->time = call->began;
	} else {
		transfer->position = *position;
		*position += length;
	}
	if (may_answer) {
		session->answered = transfer->time;
		transfer->flags = FLAG_OTHER_KNOWN;
		transfer->other = session->state.position[SENT];
	}
	if (session->state.flags & STATE_EXCLUDED || !within_budget(&session->state, transfer))
		return;
	if (call->kind == TLS_SEND_FILE)
		tell(THREAD_SLOT, 0, length, 0);
	else
		tell_plaintext(call->buffer);
}

static __noinline void call_returned(struct tls_call *call, __s64 result)
{
	__u32 length = length_of_call(call, result);
	struct tls_session *session;

	/* Nothing new. */
	if (!length && !call->carrier && call->kind != TLS_PLACED_WRITE)
		return;
	session = make_session(call->object, call->carrier, call->target, call->flags);
	if (!session) {
		count_dropped(1, length);
		return;
	}
	/* Not if the session that it had its place in is gone. */
	if (call->kind == TLS_PLACED_WRITE && !session->writing)
		call->kind = TLS_WRITE;
	if (call->kind == TLS_PLACED_WRITE)
		give_back(call, session, length);
	if (length)
		tell_call(call, session, length);
	if (call->kind == TLS_PLACED_WRITE)
		__sync_fetch_and_add(&session->writing, -1);
	if (session->ending && !session->writing)
		end_session(session, call->object);
}

/* With `exactly`, nothing is known unless a call is under way that began just there. */
static __always_inline int end_call(struct tls_caller *caller, __s64 frame, __s64 result,
				    const bool exactly)
{
	struct tls_call *call = bpf_map_lookup_elem(&tls_calls, caller);

	if (!call) {
		/* It was under way when its function was probed; or there were too many. */
		if (result > 0 && process_wanted(bpf_get_current_pid_tgid() >> 32)) {
			__u32 missed = at_most(result);

			count_unmatched();
			bpf_map_update_elem(&tls_missed, caller, &missed, BPF_ANY);
		}
		return 0;
	}
	if (!call->object)
		return 0;
	if (frame < call->frame) {
		if (!(call->nested & NESTED_OTHER))
			return 0;
		call = bpf_map_lookup_elem(&tls_nested, caller);
		if (!call || !call->object || frame < call->frame)
			return 0;
	}
	if (exactly && frame != call->frame)
		return 0;
	call_returned(call, result);
	call->object = 0;
	return 0;
}

/* What user space said when it attached, which is mostly what file it is in; Linux 5.15. */
static __always_inline __u64 told(struct pt_regs *registers)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_attach_cookie))
		return bpf_get_attach_cookie(registers);
	return 0;
}

/* Functions of C. */

static __always_inline int c_begins(struct pt_regs *registers, __u8 kind, __u64 done, __u8 nested)
{
	struct tls_caller caller = { .thread = bpf_get_current_pid_tgid() };
	struct tls_call call = {};

	call.object = PT_REGS_PARM1(registers);
	call.buffer = PT_REGS_PARM2(registers);
	call.done = done;
	call.kind = kind;
	call.nested = nested;
	call.frame = PT_REGS_SP(registers);
	call.target = told(registers);
	return begin_call(&caller, &call);
}

#define C_BEGINS(function, kind, done, nested)                                                  \
	SEC("uprobe")                                                                           \
	int function(struct pt_regs *registers)                                                 \
	{                                                                                       \
		return c_begins(registers, kind, done, nested);                                 \
	}

C_BEGINS(tls_handshake, TLS_HANDSHAKE, 0, 0)
C_BEGINS(tls_read, TLS_READ, 0, 0)
C_BEGINS(tls_write, TLS_WRITE, 0, 0)
C_BEGINS(tls_read_ex, TLS_READ, PT_REGS_PARM4(registers), 0)
C_BEGINS(tls_write_ex, TLS_WRITE, PT_REGS_PARM4(registers), 0)
C_BEGINS(tls_write_ex2, TLS_WRITE, PT_REGS_PARM5(registers), 0)
C_BEGINS(tls_early_read, TLS_READ, PT_REGS_PARM4(registers), NESTED_OWN)
C_BEGINS(tls_early_write, TLS_WRITE, PT_REGS_PARM4(registers), NESTED_OWN)
C_BEGINS(tls_send_file, TLS_SEND_FILE, 0, 0)

static __always_inline int c_ends(struct pt_regs *registers, __s64 frame)
{
	struct tls_caller caller = { .thread = bpf_get_current_pid_tgid() };

	/* They return `int`; what is above that in the register means nothing. SSL_sendfile's
	 * ssize_t is not larger either: it was asked for. */
	return end_call(&caller, frame, (__s32)PT_REGS_RC(registers), false);
}

/* At an instruction that returns, or on the way there. */
SEC("uprobe")
int tls_returns(struct pt_regs *registers)
{
	return c_ends(registers, PT_REGS_SP(registers));
}

/* Where the function has returned to; the return address is no longer on the stack. */
SEC("uretprobe")
int tls_returned(struct pt_regs *registers)
{
#if defined(__TARGET_ARCH_x86)
	return c_ends(registers, PT_REGS_SP(registers) - 8);
#else
	return c_ends(registers, PT_REGS_SP(registers));
#endif
}

static __always_inline int ends(__u64 object)
{
	struct tls_session *session = find_session(object, bpf_get_current_pid_tgid() >> 32);

	if (!session)
		return 0;
	/* What another goroutine has written is told of when its call returns, and belongs here. */
	if (session->writing)
		session->ending = 1;
	else
		end_session(session, object);
	return 0;
}

SEC("uprobe")
int tls_free(struct pt_regs *registers)
{
	return ends(PT_REGS_PARM1(registers));
}

/*
 * Ciphertext leaves the library. If it is not known yet where to, it may be into memory, from where
 * the program takes it to a socket of its choosing.
 */
SEC("uprobe")
int tls_bio_write(struct pt_regs *registers)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct tls_caller caller = { .thread = thread };
	struct tls_call *call = bpf_map_lookup_elem(&tls_calls, &caller);
	struct tls_print print = { .pid = thread >> 32 };
	struct tls_printed printed = {};
	__u32 pid = thread >> 32;
	__u8 one = 1;

	if (!call || !call->object)
		return 0;
	if (call->nested & NESTED_OTHER) {
		struct tls_call *inner = bpf_map_lookup_elem(&tls_nested, &caller);

		if (inner && inner->object)
			call = inner;
	}
	if (call->carrier || (__s32)PT_REGS_PARM3(registers) < PRINTED_BYTES)
		return 0;
	print.hash = print_of(PT_REGS_PARM2(registers));
	if (!print.hash)
		return 0;
	printed.object = call->object;
	printed.target = call->target;
	if (begins_record(PT_REGS_PARM2(registers)) == TLS_HANDSHAKE_RECORD)
		printed.flags = CALL_FROM_START;
	bpf_map_update_elem(&tls_prints, &print, &printed, BPF_ANY);
	if (!bpf_map_lookup_elem(&tls_printers, &pid))
		bpf_map_update_elem(&tls_printers, &pid, &one, BPF_ANY);
	call->printed = 1;
	return 0;
}

/*
 * Functions of Go. Goroutines move between threads, and their stacks move in memory: a place on one
 * is told by its distance from the stack's upper end, the second word of a goroutine
 * (src/runtime/runtime2.go).
 */

static __always_inline bool find_goroutine(struct tls_caller *caller, __s64 *frame, __u64 g,
					   __u64 stack_pointer)
{
	__u64 end;

	if (!g || bpf_probe_read_user(&end, sizeof(end), (void *)(g + 8)))
		return false;
	caller->thread = bpf_get_current_pid_tgid() >> 32;
	caller->goroutine = g;
	*frame = stack_pointer - end;
	return true;
}

static __always_inline int go_begins(struct pt_regs *registers, __u8 kind, __u8 abi, __u64 g,
				     __u64 object, __u64 buffer, __u64 length)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct tls_caller caller = {};
	struct tls_call call = {};
	__u8 *known;

	if (!find_goroutine(&caller, &call.frame, g, PT_REGS_SP(registers)))
		return 0;
	known = bpf_map_lookup_elem(&tls_processes, &pid);
	if (!known || *known != abi)
		bpf_map_update_elem(&tls_processes, &pid, &abi, BPF_ANY);
	call.object = object;
	call.buffer = buffer;
	call.kind = kind;
	if (kind == TLS_GO_WRITE)
		call.done = length;
	call.target = told(registers);
	return begin_call(&caller, &call);
}

static __always_inline int go_ends(struct pt_regs *registers, __u64 g, __s64 result)
{
	struct tls_caller caller = {};
	__s64 frame;

	if (!find_goroutine(&caller, &frame, g, PT_REGS_SP(registers)))
		return 0;
	return end_call(&caller, frame, result, false);
}

/* The integer registers of Go's ABI, in order, as far as they are needed. */
#if defined(__TARGET_ARCH_x86)
#define GO_REGISTER_1(registers) ((registers)->ax)
#define GO_REGISTER_2(registers) ((registers)->bx)
#define GO_REGISTER_3(registers) ((registers)->cx)
#define GO_G(registers) ((registers)->r14)
#else
#define GO_REGISTER_1(registers) (((struct user_pt_regs *)(registers))->regs[0])
#define GO_REGISTER_2(registers) (((struct user_pt_regs *)(registers))->regs[1])
#define GO_REGISTER_3(registers) (((struct user_pt_regs *)(registers))->regs[2])
#define GO_G(registers) (((struct user_pt_regs *)(registers))->regs[28])
#endif

#define GO_BEGINS(function, kind)                                                               \
	SEC("uprobe")                                                                           \
	int function(struct pt_regs *registers)                                                 \
	{                                                                                       \
		return go_begins(registers, kind, GO_REGISTERS, GO_G(registers),                \
				 GO_REGISTER_1(registers), GO_REGISTER_2(registers),            \
				 GO_REGISTER_3(registers));                                     \
	}

GO_BEGINS(go_handshake, TLS_HANDSHAKE)
GO_BEGINS(go_read, TLS_READ)
GO_BEGINS(go_write, TLS_GO_WRITE)

SEC("uprobe")
int go_returns(struct pt_regs *registers)
{
	return go_ends(registers, GO_G(registers), GO_REGISTER_1(registers));
}

/*
 * One of them has deferred this function, and calls it with its result in place: a cheaper instruction
 * than those that return. How far up the stack it began, and where the result is, was told. In a panic,
 * Go's runtime calls it from further down.
 */
SEC("uprobe")
int go_deferred(struct pt_regs *registers)
{
	__u64 shape = told(registers), stack_pointer = PT_REGS_SP(registers);
	struct tls_caller caller = {};
	__s64 frame, result;

	if (!find_goroutine(&caller, &frame, GO_G(registers), stack_pointer + (shape >> 32)) ||
	    bpf_probe_read_user(&result, sizeof(result), (void *)(stack_pointer + (__u32)shape)))
		return 0;
	return end_call(&caller, frame, result, true);
}

SEC("uprobe")
int go_free(struct pt_regs *registers)
{
	return ends(GO_REGISTER_1(registers));
}

/* Before Go 1.17: the receiver, a slice of three words, and a length and an error as results, all on
 * the stack behind the return address. */
static __always_inline __u64 on_stack(struct pt_regs *registers, __u32 word)
{
	__u64 value = 0;

	bpf_probe_read_user(&value, sizeof(value), (void *)(PT_REGS_SP(registers) + 8 * word));
	return value;
}

#define GO_STACK_BEGINS(function, kind)                                                         \
	SEC("uprobe")                                                                           \
	int function(struct pt_regs *registers)                                                 \
	{                                                                                       \
		return go_begins(registers, kind, GO_STACK, goroutine_by_thread(),              \
				 on_stack(registers, 1), on_stack(registers, 2),                \
				 on_stack(registers, 3));                                       \
	}

GO_STACK_BEGINS(go_stack_handshake, TLS_HANDSHAKE)
GO_STACK_BEGINS(go_stack_read, TLS_READ)
GO_STACK_BEGINS(go_stack_write, TLS_GO_WRITE)

SEC("uprobe")
int go_stack_returns(struct pt_regs *registers)
{
	return go_ends(registers, goroutine_by_thread(), on_stack(registers, 5));
}

SEC("uprobe")
int go_stack_free(struct pt_regs *registers)
{
	return ends(on_stack(registers, 1));
}

#include "rustls.h"

#endif
