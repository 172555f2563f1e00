/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Socket traffic by the returns of the socket system calls. The arguments are still in the
 * registers that user space entered with, so the entries need no probe.
 */
#include "include/common.h"
#include "include/access_probe.h"
#include "include/syscall.h"
#include "include/transfer.h"
#include "include/on_syscall.h"
#include "include/lifetime.h"

/* arch/x86/include/asm/page_64_types.h, arch/arm64/include/asm/memory.h, without KASAN. */
#define THREAD_SIZE 16384

/* bpf_task_pt_regs is there from Linux 5.15; before, registers are at the top of the stack. */
static __always_inline struct pt_regs *user_registers(void)
{
	struct task_struct *task;

	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	task = (struct task_struct *)bpf_get_current_task();
	return (struct pt_regs *)(BPF_CORE_READ(task, stack) + THREAD_SIZE -
				  bpf_core_type_size(struct pt_regs));
}

/* One program for all of them: which system call it was, the registers tell too. */
SEC("kretprobe")
int syscall_returned(struct pt_regs *context)
{
	__s64 result = PT_REGS_RC(context);
	struct call call;

	if (result < 0)
		return 0;
	read_call(&call, user_registers());
	return on_syscall(&call, result);
}
