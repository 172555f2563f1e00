/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Walks a user stack by the tables that user space made of the files' unwind information.
 *
 * The parts are global functions, so that the verifier looks at each once and not again for every
 * frame; what they share lies in a map, whose content it does not follow. Linux before 5.12 hands
 * only numbers to global functions: they find the walk by its number.
 */
#ifndef PIXIE_PROFILER_UNWIND_H
#define PIXIE_PROFILER_UNWIND_H

struct walk {
	__u64 registers[REGISTERS];
	__u64 pc;
	__u32 exact; /* the registers are those of an instruction, not of a call */
	__u32 by_frame_pointer;
	/* The process. */
	__u64 mm;
	__u32 first;
	__u32 count;
	/* The mapping that was looked at last. */
	__u64 start;
	__u64 end;
	__u64 bias;
	__u32 table;
	__u32 _pad;
	__u64 base;
	__u32 first_page;
	__u32 page_count;
	/* What was read. */
	__u64 words[R_WORDS > SIGNAL_WORDS ? R_WORDS : SIGNAL_WORDS];
	/* How many user frames are taken. */
	__u64 most;
	/* The beginning of a struct blocked. */
	__u64 since;
	struct stack_event event;
	__u64 frames[FRAMES];
};

/* A slot for samples, and one for what may be interrupted by a sample. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct walk);
} walks SEC(".maps");

enum { GO_ON = 0, STOP = 1 };

static __always_inline int stop(struct walk *walk, __u8 end)
{
	walk->event.key.end = end;
	return STOP;
}

static __always_inline __u64 mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
	return hash ^ (hash >> 32);
}

/* Tells user space that it should look at a process (again). */
static __always_inline void tell(__u32 pid, __u64 mm, __u32 kind)
{
	struct news item = { .mm = mm, .pid = pid, .kind = kind };

	if (bpf_ringbuf_output(&news, &item, sizeof(item), 0))
		TALLY(news_lost);
}

/* Finds the mapping of the walk's process that `address` is in. 1 when there is one. */
__attribute__((noinline)) int find_mapping(__u32 slot, __u64 address)
{
	struct walk *walk = bpf_map_lookup_elem(&walks, &slot);
	__u32 low, high, middle;
	struct mapping *mapping;
	struct table *table;
	__u32 id;

	if (!walk)
		return 0;
	low = walk->first;
	high = low + walk->count;
	for (int i = 0; i < 18; i++) {
		if (low >= high)
			break;
		middle = low + (high - low) / 2;
		mapping = bpf_map_lookup_elem(&mappings, &middle);
		if (!mapping)
			return 0;
		if (address < mapping->start) {
			high = middle;
		} else if (address >= mapping->end) {
			low = middle + 1;
		} else {
			walk->start = mapping->start;
			walk->end = mapping->end;
			walk->bias = mapping->bias;
			id = mapping->table;
			walk->page_count = 0;
			if (!id)
				return 1;
			table = bpf_map_lookup_elem(&tables, &id);
			if (!table)
				return 1;
			walk->base = table->base;
			walk->first_page = table->first;
			walk->page_count = table->pages;
			return 1;
		}
	}
	return 0;
}

/* The number of the rule for `address`, in the mapping that was found. 0 when there is none. */
__attribute__((noinline)) int find_rule(__u32 slot, __u64 address)
{
	struct walk *walk = bpf_map_lookup_elem(&walks, &slot);
	__u32 low, high, middle, zero = 0, chunk, index;
	__u64 number;
	struct page *page;
	struct chunk *rows;
	void *inner;

	if (!walk)
		return 0;
	address -= walk->bias;
	number = (address >> 16) - walk->base;
	if (number >= walk->page_count)
		return 0;
	index = walk->first_page + number;
	page = bpf_map_lookup_elem(&pages, &index);
	if (!page || !page->rows)
		return 0;
	chunk = page->chunk;
	inner = bpf_map_lookup_elem(&chunks, &chunk);
	if (!inner)
		return 0;
	rows = bpf_map_lookup_elem(inner, &zero);
	if (!rows)
		return 0;
	low = page->start;
	high = low + page->rows;
	address &= 0xffff;
	/* The last row that does not begin behind the address. */
	for (int i = 0; i < 17; i++) {
		if (low >= high)
			break;
		middle = (low + high) / 2;
		if (rows->rows[middle & (CHUNK_ROWS - 1)].pc <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (low <= page->start)
		return 0;
	return rows->rows[(low - 1) & (CHUNK_ROWS - 1)].rule;
}

/* Notes that the address of the next frame is no return address. */
static __always_inline void note_interruption(struct walk *walk)
{
	__u32 count = walk->event.interruptions;

	walk->exact = 1;
	if (count < MAX_INTERRUPTED) {
		walk->event.interrupted[count] = walk->event.user;
		walk->event.interruptions = count + 1;
	}
}

/* Goes on to the code that a signal interrupted. */
static __always_inline int leave_signal(struct walk *walk)
{
	__u64 sp = walk->registers[DWARF_SP];

	if (bpf_probe_read_user(walk->words, SIGNAL_WORDS * 8, (void *)(sp + SIGNAL_CONTEXT)))
		return stop(walk, END_UNREADABLE);
	TAKE_SIGNAL(walk->registers, walk->words);
	walk->pc = walk->words[SIGNAL_PC];
	note_interruption(walk);
	return GO_ON;
}

/* For code without unwind information. */
__attribute__((noinline)) int by_frame_pointer(__u32 slot)
{
	struct walk *walk = bpf_map_lookup_elem(&walks, &slot);
	__u64 code[2] = {};
	__u64 sp, fp;

	if (!walk)
		return STOP;
	sp = walk->registers[DWARF_SP];
	fp = walk->registers[DWARF_FP];
	if (!walk->exact) {
		if (!bpf_probe_read_user(code, 9, (void *)walk->pc) && IS_SIGNAL_CODE(code))
			return leave_signal(walk);
		/* What the first function of a thread finds. */
		if (!fp)
			return stop(walk, END_COMPLETE);
	}
	if (fp & 7 || fp < sp || fp - sp > (8 << 20))
		return stop(walk, END_NO_INFORMATION);
	if (bpf_probe_read_user(walk->words, 16, (void *)fp))
		return stop(walk, END_UNREADABLE);
	walk->registers[DWARF_FP] = walk->words[0];
	walk->registers[DWARF_SP] = fp + 16;
	walk->pc = walk->words[1];
	walk->exact = 0;
	walk->by_frame_pointer += 1;
	return walk->pc ? GO_ON : stop(walk, END_COMPLETE);
}

static __always_inline int read_word(__u64 *word, __u64 address)
{
	return bpf_probe_read_user(word, sizeof(*word), (void *)address);
}

/* Goes from a function to its caller. */
__attribute__((noinline)) int apply_rule(__u32 slot, __u32 number)
{
	struct walk *walk = bpf_map_lookup_elem(&walks, &slot);
	struct rule *rule = bpf_map_lookup_elem(&rules, &number);
	__u64 sp, fp, cfa, word;

	if (!walk || !rule)
		return STOP;
	sp = walk->registers[DWARF_SP];
	fp = walk->registers[DWARF_FP];
	switch (rule->cfa) {
	case CFA_SP:
		cfa = sp + rule->offset;
		break;
	case CFA_FRAME_POINTER:
		if (!fp)
			return stop(walk, END_COMPLETE);
		cfa = fp + rule->offset;
		break;
	case CFA_FP:
		cfa = fp + rule->offset;
		break;
	case CFA_REGISTER:
		if (!walk->exact)
			return stop(walk, END_UNSUPPORTED);
		cfa = walk->registers[rule->cfa_register & (REGISTERS - 1)] + rule->offset;
		break;
	case CFA_PLT:
		cfa = sp + rule->offset + ((walk->pc & 15) >= rule->second ? 8 : 0);
		break;
	case CFA_AT_SP:
		if (read_word(&word, sp + rule->offset))
			return stop(walk, END_UNREADABLE);
		cfa = word + rule->second;
		break;
	case CFA_AT_FP:
		if (read_word(&word, fp + rule->offset))
			return stop(walk, END_UNREADABLE);
		cfa = word + rule->second;
		break;
	case CFA_AT_SP_INDEXED:
		if (!walk->exact)
			return stop(walk, END_UNSUPPORTED);
		word = walk->registers[rule->cfa_register & (REGISTERS - 1)];
		if (read_word(&word, sp + word * 8 + rule->offset))
			return stop(walk, END_UNREADABLE);
		cfa = word + rule->second;
		break;
	case CFA_SIGNAL:
		return leave_signal(walk);
	case CFA_END:
		return stop(walk, END_COMPLETE);
	default:
		return stop(walk, END_UNSUPPORTED);
	}
	if (cfa <= sp && rule->cfa != CFA_FRAME_POINTER && rule->cfa != CFA_AT_SP)
		return stop(walk, END_BAD_FRAME);

	if (rule->fp == SAVED_AT_CFA && rule->ra == SAVED_AT_CFA &&
	    rule->ra_offset == rule->fp_offset + 8) {
		/* They lie beside each other, most of the time. */
		if (bpf_probe_read_user(walk->words, 16, (void *)(cfa + rule->fp_offset)))
			return stop(walk, END_UNREADABLE);
		walk->registers[DWARF_FP] = walk->words[0];
		walk->pc = walk->words[1];
	} else {
		if (rule->fp == SAVED_LOST) {
			walk->registers[DWARF_FP] = 0;
		} else if (rule->fp != SAVED_NOT) {
			word = rule->fp == SAVED_AT_CFA ? cfa : rule->fp == SAVED_AT_SP ? sp : fp;
			if (read_word(&walk->registers[DWARF_FP], word + rule->fp_offset))
				return stop(walk, END_UNREADABLE);
		}
		if (rule->ra == SAVED_AT_CFA || rule->ra == SAVED_AT_SP) {
			word = (rule->ra == SAVED_AT_CFA ? cfa : sp) + rule->ra_offset;
			if (read_word(&walk->pc, word))
				return stop(walk, END_UNREADABLE);
		} else if (rule->ra == SAVED_LOST) {
			return stop(walk, END_COMPLETE);
		} else {
#if defined(__TARGET_ARCH_arm64)
			if (!walk->exact)
				return stop(walk, END_UNSUPPORTED);
			walk->pc = walk->registers[30];
#else
			return stop(walk, END_UNSUPPORTED);
#endif
		}
	}
	walk->registers[DWARF_SP] = cfa;
	walk->exact = 0;
	if (rule->cfa == CFA_SP && rule->second)
		note_interruption(walk);
	return walk->pc ? GO_ON : stop(walk, END_COMPLETE);
}

/* Takes one frame, and goes on to its caller. */
__attribute__((noinline)) int take_frame(__u32 slot)
{
	struct walk *walk = bpf_map_lookup_elem(&walks, &slot);
	__u64 address;
	__u32 user;
	int rule;

	if (!walk)
		return STOP;
	user = walk->event.user;
	if (user >= walk->most)
		return stop(walk, END_DEPTH);
	address = walk->exact ? walk->pc : walk->pc - 1;
	if (address < walk->start || address >= walk->end) {
		if (!find_mapping(slot, address)) {
			/* What ran is told of in any case; what would have called it is not. */
			if (!user) {
				walk->frames[walk->event.kernel & (FRAMES - 1)] = walk->pc;
				walk->event.user = 1;
			}
			return stop(walk, END_NOT_MAPPED);
		}
	}
	walk->frames[(walk->event.kernel + user) & (FRAMES - 1)] = walk->pc;
	walk->event.user = user + 1;
	rule = find_rule(slot, address);
	if (rule <= 0)
		return by_frame_pointer(slot);
	return apply_rule(slot, rule);
}

#endif
