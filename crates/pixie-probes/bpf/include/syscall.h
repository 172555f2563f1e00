/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where the payload of a transfer is: told by the registers that user space entered the kernel
 * with. They keep the arguments until the system call returns, so nothing needs to be remembered
 * from its start.
 */
#ifndef PIXIE_SYSCALL_H
#define PIXIE_SYSCALL_H

#if defined(__TARGET_ARCH_x86)
enum {
	SYS_READ = 0, SYS_WRITE = 1, SYS_READV = 19, SYS_WRITEV = 20, SYS_SENDFILE = 40,
	SYS_SENDTO = 44, SYS_RECVFROM = 45, SYS_SENDMSG = 46, SYS_RECVMSG = 47, SYS_SPLICE = 275,
	SYS_RECVMMSG = 299, SYS_SENDMMSG = 307, SYS_PREADV2 = 327, SYS_PWRITEV2 = 328,
};
#else
enum {
	SYS_READ = 63, SYS_WRITE = 64, SYS_READV = 65, SYS_WRITEV = 66, SYS_SENDFILE = 71,
	SYS_SENDTO = 206, SYS_RECVFROM = 207, SYS_SENDMSG = 211, SYS_RECVMSG = 212, SYS_SPLICE = 76,
	SYS_RECVMMSG = 243, SYS_SENDMMSG = 269, SYS_PREADV2 = 286, SYS_PWRITEV2 = 287,
};
#endif

/* What Go's own ABI keeps the current goroutine in (src/cmd/compile/abi-internal.md). */
#if defined(__TARGET_ARCH_x86)
#define GO_G_REGISTER r14
#else
#define GO_G_REGISTER regs[28]
#endif

struct call {
	__u64 number;
	__u64 arguments[5];
};

enum payload_kind {
	PAYLOAD_UNKNOWN,     /* user space cannot be asked where it is */
	PAYLOAD_NOT_IN_USER, /* it never was in user space */
	PAYLOAD_BUFFER,
	PAYLOAD_VECTOR,
	PAYLOAD_MESSAGE,     /* at `address` is a struct msghdr that tells */
};

/* All of one size: Linux 5.10 does not follow a part of what was put on the stack in one piece. */
struct payload {
	__u64 kind;
	__u64 name_length;
	__u64 address;
	__u64 count; /* bytes of a buffer, elements of a vector */
	__u64 name;  /* where the peer's address is, in user space */
	__u64 behind; /* bytes that the same call transferred after these */
};

#if defined(__TARGET_ARCH_x86)
#define READ_CALL(call, registers, read)                                                        \
	do {                                                                                    \
		(call)->number = read(registers, orig_ax);                                      \
		(call)->arguments[0] = read(registers, di);                                     \
		(call)->arguments[1] = read(registers, si);                                     \
		(call)->arguments[2] = read(registers, dx);                                     \
		(call)->arguments[3] = read(registers, r10);                                    \
		(call)->arguments[4] = read(registers, r8);                                     \
	} while (0)
#else
#define READ_CALL(call, registers, read)                                                        \
	do {                                                                                    \
		(call)->number = read(registers, syscallno);                                    \
		(call)->arguments[0] = read(registers, orig_x0);                                \
		(call)->arguments[1] = read(registers, regs[1]);                                \
		(call)->arguments[2] = read(registers, regs[2]);                                \
		(call)->arguments[3] = read(registers, regs[3]);                                \
		(call)->arguments[4] = read(registers, regs[4]);                                \
	} while (0)
#endif

static __always_inline void read_call(struct call *call, struct pt_regs *registers)
{
	READ_CALL(call, registers, READ);
}

/* arch/x86/include/asm/page_64_types.h, arch/arm64/include/asm/memory.h, without KASAN. */
#define THREAD_SIZE 16384

/* bpf_task_pt_regs is there from Linux 5.15; before, registers are at the top of the stack. */
static __always_inline void read_current_call(struct call *call)
{
	struct task_struct *task;
	struct pt_regs *registers;

	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs)) {
		registers = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
		READ_CALL(call, registers, READ);
		return;
	}
	task = (struct task_struct *)bpf_get_current_task();
	registers = (struct pt_regs *)(BPF_CORE_READ(task, stack) + THREAD_SIZE -
				       bpf_core_type_size(struct pt_regs));
	READ_CALL(call, registers, BPF_CORE_READ);
}

/* The goroutine that made the system call: from Go 1.17 on it is in a register. */
static __always_inline __u64 goroutine_by_register(void)
{
	struct task_struct *task;
	struct pt_regs *registers;

	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs)) {
		registers = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
		return BPF_CORE_READ(registers, GO_G_REGISTER);
	}
	task = (struct task_struct *)bpf_get_current_task();
	registers = (struct pt_regs *)(BPF_CORE_READ(task, stack) + THREAD_SIZE -
				       bpf_core_type_size(struct pt_regs));
	return BPF_CORE_READ(registers, GO_G_REGISTER);
}

/* Before, it is the thread's own variable, next to where the thread pointer points. */
static __always_inline __u64 goroutine_by_thread(void)
{
	__u64 goroutine = 0;
#if defined(__TARGET_ARCH_x86)
	struct task_struct___x86 *task = (struct task_struct___x86 *)bpf_get_current_task();
	__u64 pointer = BPF_CORE_READ(task, thread.fsbase);

	bpf_probe_read_user(&goroutine, sizeof(goroutine), (void *)(pointer - 8));
#endif
	return goroutine;
}

/* The direction of a system call that transfers one message or one run of bytes; -1 for others. */
static __always_inline int direction_of(__u64 number)
{
	switch (number) {
	case SYS_WRITE: case SYS_WRITEV: case SYS_PWRITEV2: case SYS_SENDTO: case SYS_SENDMSG:
	case SYS_SENDMMSG: case SYS_SENDFILE:
		return SENT;
	case SYS_READ: case SYS_READV: case SYS_PREADV2: case SYS_RECVFROM: case SYS_RECVMSG:
	case SYS_RECVMMSG:
		return RECEIVED;
	default:
		return -1;
	}
}

/* Does not follow message vectors: which element it is, the registers do not tell. */
static __always_inline void locate(struct payload *payload, struct call *call)
{
	__builtin_memset(payload, 0, sizeof(*payload));
	payload->address = call->arguments[1];
	payload->count = call->arguments[2];
	switch (call->number) {
	case SYS_SENDTO:
	case SYS_RECVFROM:
		payload->name = call->arguments[4];
		payload->name_length = 28;
		payload->kind = PAYLOAD_BUFFER;
		break;
	case SYS_READ:
	case SYS_WRITE:
		payload->kind = PAYLOAD_BUFFER;
		break;
	case SYS_READV:
	case SYS_WRITEV:
	case SYS_PREADV2:
	case SYS_PWRITEV2:
		payload->kind = PAYLOAD_VECTOR;
		break;
	case SYS_SENDMSG:
	case SYS_RECVMSG:
		payload->kind = PAYLOAD_MESSAGE;
		break;
	case SYS_SENDFILE:
	case SYS_SPLICE:
		payload->kind = PAYLOAD_NOT_IN_USER;
		break;
	default:
		payload->kind = PAYLOAD_UNKNOWN;
	}
}

/* A struct msghdr of user space's: its vector, and its peer's address. */
static __always_inline void follow_message(struct payload *payload)
{
	struct user_message message;

	if (bpf_probe_read_user(&message, sizeof(message), (void *)payload->address)) {
		payload->kind = PAYLOAD_UNKNOWN;
		return;
	}
	payload->kind = PAYLOAD_VECTOR;
	payload->address = message.vector;
	payload->count = message.vector_length;
	payload->name = message.name;
	payload->name_length = message.name_length;
}

#endif
