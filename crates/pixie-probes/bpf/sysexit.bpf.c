/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Socket traffic by the exit of every system call: the last resort, for kernels that have neither
 * the socket tracepoints nor kprobes.
 */
#include "include/common.h"
#include "include/access_probe.h"
#include "include/syscall.h"
#include "include/transfer.h"
#define told_otherwise(state) false
#include "include/on_syscall.h"
#include "include/lifetime.h"
#include "include/tls.h"

SEC("tp_btf/sys_exit")
int BPF_PROG(syscall_exited, struct pt_regs *registers, long result)
{
	struct call call;

	if (result < 0)
		return 0;
	read_call(&call, registers);
	return on_syscall(&call, result);
}
