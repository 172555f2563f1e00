/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What passes between the profiler's programs and user space. src/sampler/abi.rs is its mirror; a
 * test holds the two against each other by the objects' BTF.
 */
#ifndef PIXIE_PROFILER_ABI_H
#define PIXIE_PROFILER_ABI_H

#define MAX_USER_FRAMES 512
#define MAX_KERNEL_FRAMES 127
#define FRAMES 1024
#define MAX_INTERRUPTED 4
/* Of a thread that blocks, as long as it does. */
#define BLOCKED_KERNEL_FRAMES 48
#define BLOCKED_USER_FRAMES 144
#define BLOCKED_FRAMES (BLOCKED_KERNEL_FRAMES + BLOCKED_USER_FRAMES)
#define CHUNK_ROWS 65536

/* Why a user stack ends. */
enum stack_end {
	END_COMPLETE = 0,
	END_DEPTH = 1,
	END_UNKNOWN_PROCESS = 2,
	END_NOT_MAPPED = 3,
	END_NO_INFORMATION = 4,
	END_UNSUPPORTED = 5,
	END_UNREADABLE = 6,
	END_BAD_FRAME = 7,
	END_COMPATIBILITY = 8,
	END_NO_REGISTERS = 9,
	ENDS = 10,
};

enum sample_kind {
	SAMPLE_CPU = 0,
	SAMPLE_BLOCKED = 1,
};

/* What tells stacks apart. */
struct stack_key {
	__u64 hash;
	__u32 pid;
	__u32 tid;
	__u32 image;
	__u8 end;  /* enum stack_end */
	__u8 kind; /* enum sample_kind */
	__u16 _pad;
};

struct stack_count {
	__u64 count;
	__u64 blocked; /* nanoseconds */
};

/* A stack that is new in its generation. Its frames follow: the kernel's, then the process's. */
struct stack_event {
	struct stack_key key;
	__u64 start_time;
	__u64 cgroup;
	char comm[16];
	__u16 kernel;
	__u16 user;
	__u16 interrupted[MAX_INTERRUPTED]; /* user frames whose address is no return address */
	__u8 interruptions;
	__u8 generation;
	__u16 _pad;
};

/* A thread that blocks, until it runs again. */
struct blocked {
	__u64 since;
	struct stack_event event;
	__u64 frames[BLOCKED_FRAMES];
};

enum news_kind {
	NEWS_PROCESS = 1, /* a process that is not known, or has become another */
	NEWS_ADDRESS = 2, /* an address that is in no mapping of a process that is known */
};

struct news {
	__u64 mm;
	__u32 pid;
	__u32 kind; /* enum news_kind */
};

enum process_state {
	PROCESS_ASKED = 0,
	PROCESS_KNOWN = 1,
	PROCESS_HIDDEN = 2, /* user space could not look at it */
};

struct process {
	__u64 mm;    /* the address space that this is about; 0: whichever the process has */
	__u64 asked; /* when user space was last told of it */
	__u64 arguments; /* where the address space has them, while `mm` is not known; 0: any */
	__u32 first; /* of its mappings */
	__u32 count;
	__u32 image;
	__u32 state; /* enum process_state */
};

/* A part of a process's memory with code. Those of a process lie together, in order. */
struct mapping {
	__u64 start;
	__u64 end;
	__u64 bias; /* an address less this is one as the file counts */
	__u32 table; /* 0: none */
	__u32 _pad;
};

/* The unwind table of a file. */
struct table {
	__u64 base;  /* the first page's number, as the file counts */
	__u32 first; /* of its pages */
	__u32 pages;
};

/* Where the rows of 64 KiB of code are. */
struct page {
	__u32 rows;
	__u16 chunk;
	__u16 start; /* in the chunk */
};

struct row {
	__u16 pc;   /* in the page */
	__u16 rule; /* holds from there on */
};

struct chunk {
	struct row rows[CHUNK_ROWS];
};

/* How the canonical frame address is found. */
enum cfa {
	CFA_NONE = 0,          /* the code has no unwind information */
	CFA_UNSUPPORTED = 1,
	CFA_END = 2,           /* this is a thread's first function */
	CFA_SP = 3,            /* stack pointer + offset; where `second`, the caller made no call */
	CFA_FP = 4,            /* frame pointer + offset */
	CFA_REGISTER = 5,      /* another register + offset */
	CFA_AT_SP = 6,         /* what lies at stack pointer + offset, + second */
	CFA_AT_FP = 7,         /* what lies at frame pointer + offset, + second */
	CFA_AT_SP_INDEXED = 8, /* what lies at stack pointer + register * 8 + offset, + second */
	CFA_PLT = 9,           /* stack pointer + offset, + 8 from byte `second` of 16 on */
	CFA_SIGNAL = 10,       /* the frame of a signal */
	CFA_FRAME_POINTER = 11, /* by frame pointer, without a look at it */
};

/* Where the caller's register was saved. */
enum saved {
	SAVED_NOT = 0,    /* it is still there */
	SAVED_AT_CFA = 1, /* at canonical frame address + offset */
	SAVED_AT_SP = 2,  /* at stack pointer + offset */
	SAVED_LOST = 3,
	SAVED_AT_FP = 4,  /* at frame pointer + offset */
};

struct rule {
	__s32 offset;
	__s32 second;
	__s16 fp_offset;
	__s16 ra_offset;
	__u8 cfa; /* enum cfa */
	__u8 fp;  /* enum saved */
	__u8 ra;  /* enum saved */
	__u8 cfa_register;
};

/* Only ever added to, by the CPU whose it is. */
struct tallies {
	__u64 samples;
	__u64 lost_table_full;
	__u64 by_frame_pointer;
	__u64 processes_full;
	__u64 news_lost;
	__u64 blocked_lost;
	__u64 idle;
	__u64 ends[ENDS];
};

/* User space turns the generation over, and waits until nobody works on the old one. */
struct control {
	__u32 generation;
	__u32 running[2];
	__u32 _pad;
};

/* Set once, before the programs are loaded. */
struct profiler_settings {
	__u64 off_cpu_threshold; /* nanoseconds */
	__u8 filter_pids;
	__u8 filter_cgroups;
	__u8 exclude_pids;
	__u8 exclude_cgroups;
	__u8 include_self;
	__u8 per_thread;
	__u16 _pad;
};

#endif
