/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The registers of user code, by their numbers in DWARF. */
#ifndef PIXIE_PROFILER_REGISTERS_H
#define PIXIE_PROFILER_REGISTERS_H

/* arch/x86/include/asm/page_64_types.h, arch/arm64/include/asm/memory.h, without KASAN. */
#define THREAD_SIZE 16384

#if defined(__TARGET_ARCH_x86)

/* Of struct pt_regs (arch/x86/include/uapi/asm/ptrace.h), in words. */
enum { R_R15, R_R14, R_R13, R_R12, R_BP, R_BX, R_R11, R_R10, R_R9, R_R8, R_AX, R_CX, R_DX, R_SI,
       R_DI, R_ORIG_AX, R_IP, R_CS, R_FLAGS, R_SP, R_SS, R_WORDS };
#define R_PC R_IP

#define REGISTERS 16
#define DWARF_FP 6
#define DWARF_SP 7
#define CODE_SEGMENT_32 0x23

/* `to` and `from` are arrays. */
#define TAKE_REGISTERS(to, from)                                                         \
	do {                                                                             \
		(to)[0] = (from)[R_AX];                                                  \
		(to)[1] = (from)[R_DX];                                                  \
		(to)[2] = (from)[R_CX];                                                  \
		(to)[3] = (from)[R_BX];                                                  \
		(to)[4] = (from)[R_SI];                                                  \
		(to)[5] = (from)[R_DI];                                                  \
		(to)[6] = (from)[R_BP];                                                  \
		(to)[7] = (from)[R_SP];                                                  \
		(to)[8] = (from)[R_R8];                                                  \
		(to)[9] = (from)[R_R9];                                                  \
		(to)[10] = (from)[R_R10];                                                \
		(to)[11] = (from)[R_R11];                                                \
		(to)[12] = (from)[R_R12];                                                \
		(to)[13] = (from)[R_R13];                                                \
		(to)[14] = (from)[R_R14];                                                \
		(to)[15] = (from)[R_R15];                                                \
	} while (0)

#define IS_USER(from) (((from)[R_CS] & 3) == 3 && (from)[R_IP])
#define IS_COMPATIBILITY(from) ((from)[R_CS] == CODE_SEGMENT_32)

/*
 * A signal's frame as its handler returns to it: struct ucontext, and in it struct sigcontext
 * (arch/x86/include/uapi/asm/sigcontext.h): r8 to r15, di, si, bp, bx, dx, ax, cx, sp, ip.
 */
#define SIGNAL_CONTEXT 40
#define SIGNAL_WORDS 17
#define SIGNAL_PC 16
#define TAKE_SIGNAL(to, from)                                                            \
	do {                                                                             \
		(to)[0] = (from)[13];                                                    \
		(to)[1] = (from)[12];                                                    \
		(to)[2] = (from)[14];                                                    \
		(to)[3] = (from)[11];                                                    \
		(to)[4] = (from)[9];                                                     \
		(to)[5] = (from)[8];                                                     \
		(to)[6] = (from)[10];                                                    \
		(to)[7] = (from)[15];                                                    \
		(to)[8] = (from)[0];                                                     \
		(to)[9] = (from)[1];                                                     \
		(to)[10] = (from)[2];                                                    \
		(to)[11] = (from)[3];                                                    \
		(to)[12] = (from)[4];                                                    \
		(to)[13] = (from)[5];                                                    \
		(to)[14] = (from)[6];                                                    \
		(to)[15] = (from)[7];                                                    \
	} while (0)

/* mov $15,%rax; syscall: what every C library and Go returns from a signal by. */
#define IS_SIGNAL_CODE(code) ((code)[0] == 0x0f0000000fc0c748ULL && ((code)[1] & 0xff) == 0x05)

#else

/* struct user_pt_regs (arch/arm64/include/uapi/asm/ptrace.h): x0 to x30, sp, pc, pstate. */
enum { R_FP = 29, R_LR = 30, R_SP = 31, R_PC = 32, R_STATE = 33, R_WORDS };

#define REGISTERS 32
#define DWARF_FP 29
#define DWARF_SP 31

#define TAKE_REGISTERS(to, from)                                                         \
	do {                                                                             \
		(to)[DWARF_FP] = (from)[R_FP];                                           \
		(to)[30] = (from)[R_LR];                                                 \
		(to)[DWARF_SP] = (from)[R_SP];                                           \
	} while (0)

/* PSR_MODE_EL0t, PSR_MODE32_BIT */
#define IS_USER(from) (((from)[R_STATE] & 0xf) == 0 && (from)[R_PC])
#define IS_COMPATIBILITY(from) ((from)[R_STATE] & 0x10)

/* struct rt_sigframe: struct siginfo, then struct ucontext, in it fault_address, x0 to x30, sp, pc. */
#define SIGNAL_CONTEXT (128 + 176 + 8)
#define SIGNAL_WORDS 33
#define SIGNAL_PC 32
#define TAKE_SIGNAL(to, from) TAKE_REGISTERS(to, from)
/* mov x8,#139; svc #0 */
#define IS_SIGNAL_CODE(code) ((code)[0] == 0xd4000001d2801168ULL)

#endif

#endif
