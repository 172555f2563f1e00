/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Plaintext from inside rustls 0.23, by what its ciphers do for each TLS record:
 *
 *   <… as MessageEncrypter>::encrypt(&mut self, OutboundPlainMessage, sequence: u64)
 *   <… as MessageDecrypter>::decrypt(&mut self, InboundOpaqueMessage, sequence: u64)
 *
 * Connections of rustls move in memory, but these objects do not: `self` is half a session, one that is
 * only written or only read. User space puts the two together by the connection that carries them. The
 * sequence begins at 0 with each object, so that one that takes the place of another is known.
 *
 * Rust promises nothing about where fields of structs are, and so every call has to prove that they were
 * where they are looked for: what goes in, what comes out and the TLS record itself must agree. Of a call
 * that does not, nothing is told but that there was one; its half is begun anew with the next.
 *
 * On x86-64: elsewhere, the address of the result is not an argument like others, and nothing is probed.
 */
#ifndef PIXIE_RUSTLS_H
#define PIXIE_RUSTLS_H

/* Rust's enum ContentType counts from 0 what RFC 8446, appendix B.1, counts from 20. */
#define RUSTLS_APPLICATION_DATA 3
#define RUSTLS_TYPES 5
#define RUSTLS_TLS_1_2 4 /* of enum ProtocolVersion */
#define RUSTLS_TLS_1_3 5
#define APPLICATION_DATA_RECORD 23
#define TAG_BYTES 16                 /* of all that rustls speaks */
#define OVERHEAD_1_3 (TAG_BYTES + 1) /* the content's type is inside */
#define NONCE_GCM 8                  /* bytes of it that TLS 1.2 sends */
#define OVERHEAD_GCM (TAG_BYTES + NONCE_GCM)
#define MAX_PLAINTEXT (1 << 14)
#define MAX_CIPHERTEXT (MAX_PLAINTEXT + 2048)
#define MAX_CHUNKS 16

/* A call that is under way. */
struct rustls_call {
	struct tls_call call; /* its buffer is the plaintext, if that is in one piece */
	__u64 result;         /* where it will be put */
	__u64 sequence;
	__u64 chunks; /* or else these slices */
	__u32 count;
	__u32 ahead;  /* bytes of them that come before what is encrypted */
	__u32 length; /* of the plaintext, or of what is to be decrypted */
	__u8 type;
	__u8 _pad[3];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct rustls_call);
} rustls_calls SEC(".maps");

/* The sequence that the next call on an object must have. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, struct tls_object);
	__type(value, __u64);
} rustls_sequences SEC(".maps");

/* In which direction the halves on a connection were last used. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u8);
} rustls_turns SEC(".maps");

/*
 * The connection that this thread has just read the end of a record from, into the very memory in which
 * it is decrypted now; the last bytes of what was read are still there. rustls moves what follows a record
 * to where that began. The shortest record has 6 bytes, so that as many are not written over.
 */
static __noinline void read_from(struct rustls_call *call, __u64 end)
{
	__u64 thread = bpf_get_current_pid_tgid(), last;
	struct rustls_read *read = bpf_map_lookup_elem(&rustls_reads, &thread);

	if (!read || end <= read->address || end > read->address + read->length)
		return;
	if (bpf_probe_read_user(&last, sizeof(last),
				(void *)(read->address + read->length - sizeof(last))) ||
	    (last ^ read->last) >> 16)
		return;
	call->call.carrier = read->connection;
	call->call.flags = read->unwanted ? CALL_UNWANTED : 0;
}

/* The record's header lies in front of what is to be decrypted, and must tell its length. */
static __noinline bool takes_record(struct rustls_call *call, __u64 message)
{
	__u8 header[TLS_HEADER];
	__u64 slice[2];

	if (bpf_probe_read_user(slice, sizeof(slice), (void *)message))
		return false;
	if (slice[1] < TAG_BYTES || slice[1] > MAX_CIPHERTEXT ||
	    bpf_probe_read_user(header, sizeof(header), (void *)(slice[0] - TLS_HEADER)))
		return false;
	if (header[0] < 20 || header[0] > 20 + RUSTLS_TYPES || header[1] != 3 ||
	    (header[3] << 8 | header[4]) != slice[1])
		return false;
	call->call.buffer = slice[0];
	call->length = slice[1];
	call->type = header[0];
	read_from(call, slice[0] + slice[1]);
	return true;
}

/* What is to be encrypted is one slice (0, address, length), or parts of several: (slices, how many,
 * start, end). */
static __noinline bool takes_message(struct rustls_call *call, __u64 message)
{
	__u64 words[5];

	if (bpf_probe_read_user(words, sizeof(words), (void *)message))
		return false;
	call->type = words[4];
	if (call->type > RUSTLS_TYPES)
		return false;
	if (words[0]) {
		if (words[1] > 0xffff || words[2] > words[3] || words[2] > 0x7fffffff)
			return false;
		call->chunks = words[0];
		call->count = words[1];
		call->ahead = words[2];
		words[2] = words[3] - words[2];
	} else {
		call->call.buffer = words[1];
	}
	call->length = words[2];
	return words[2] <= MAX_PLAINTEXT;
}

static __always_inline int rustls_begins(struct pt_regs *registers, __u8 kind)
{
	__u64 thread = bpf_get_current_pid_tgid(), message = PT_REGS_PARM3(registers);
	__u8 has_rustls = HAS_RUSTLS;
	struct rustls_call call = {};
	__u32 pid = thread >> 32;

	if (!process_wanted(pid))
		return 0;
	if (!bpf_map_lookup_elem(&tls_processes, &pid))
		bpf_map_update_elem(&tls_processes, &pid, &has_rustls, BPF_ANY);
	call.result = PT_REGS_PARM1(registers);
	call.sequence = PT_REGS_PARM4(registers);
	call.call.object = PT_REGS_PARM2(registers);
	call.call.kind = kind;
	call.call.target = told(registers);
	if (kind == TLS_READ ? takes_record(&call, message) : takes_message(&call, message)) {
		bpf_map_update_elem(&rustls_calls, &thread, &call, BPF_ANY);
	} else {
		count_unproven();
		bpf_map_delete_elem(&rustls_calls, &thread);
	}
	return 0;
}

SEC("uprobe")
int rustls_encrypt(struct pt_regs *registers)
{
	return rustls_begins(registers, TLS_WRITE);
}

SEC("uprobe")
int rustls_decrypt(struct pt_regs *registers)
{
	return rustls_begins(registers, TLS_READ);
}

/*
 * Ok(InboundPlainMessage) behind a word that says so: the plaintext is where the ciphertext was, and its
 * type is the record's or, of TLS 1.3, what follows it there. Of TLS 1.2 with GCM, aws-lc-rs leaves it
 * behind the nonce. A call that failed cannot have that.
 */
static __noinline bool has_decrypted(struct rustls_call *call)
{
	__u64 words[4], length, behind;
	__u8 type, inner;

	if (bpf_probe_read_user(words, sizeof(words), (void *)call->result))
		return false;
	behind = words[1] - call->call.buffer;
	length = words[2];
	type = words[3];
	if (length > MAX_PLAINTEXT || type > RUSTLS_TYPES)
		return false;
	if ((__u16)(words[3] >> 16) == RUSTLS_TLS_1_3) {
		if (behind || length + OVERHEAD_1_3 > call->length ||
		    bpf_probe_read_user(&inner, sizeof(inner), (void *)(words[1] + length)))
			return false;
	} else {
		if (length + OVERHEAD_GCM == call->length ? behind && behind != NONCE_GCM :
							    behind || length + TAG_BYTES != call->length)
			return false;
		inner = call->type;
	}
	if ((type == RUSTLS_APPLICATION_DATA) != (inner == APPLICATION_DATA_RECORD))
		return false;
	call->call.buffer = words[1];
	call->type = type;
	call->length = length;
	return true;
}

/* The ciphertext is known again when it is sent. The header comes to stand before it only then. */
static __noinline void print_record(struct rustls_call *call, struct tls_session *session,
				    __u64 address, __u32 header)
{
	__u64 hash = PRINT_START, word;
	struct tls_print print = { .pid = bpf_get_current_pid_tgid() >> 32 };
	struct tls_printed printed = {};

#pragma unroll
	for (int at = 0; at < PRINTED_BYTES; at += sizeof(word)) {
		if (bpf_probe_read_user(&word, sizeof(word), (void *)(address + at)))
			return;
		/* A type, the version, 3.3, and the length, in the order of the network. */
		if (!at)
			word = (word & ~0xffffffffffULL) | (header >> 16) | 0x030300 |
			       (__u64)(header >> 8 & 0xff) << 24 | (__u64)(header & 0xff) << 32;
		hash = print_step(hash, word);
	}
	print.hash = hash | 1;
	printed.object = call->call.object;
	printed.target = call->call.target;
	printed.session = session->state.connection;
	bpf_map_update_elem(&tls_prints, &print, &printed, BPF_ANY);
}

/* A record that was encrypted. */
struct sealed {
	__u64 address;
	__u32 header; /* its type and length */
};

/* A Vec of 5 bytes of 0, where the header will be, and the ciphertext; the version and the type. */
static __noinline bool is_sealed(struct rustls_call *call, struct sealed *sealed, __u64 address)
{
	__u64 words[4], length, room = 0;
	__u8 type;

	if (bpf_probe_read_user(words, sizeof(words), (void *)address))
		return false;
	length = words[2] - TLS_HEADER - call->length;
	type = words[3] >> 32;
	if ((length != OVERHEAD_1_3 && length != OVERHEAD_GCM && length != TAG_BYTES) ||
	    (__u16)words[3] != RUSTLS_TLS_1_2 || type > RUSTLS_TYPES ||
	    type != (length == OVERHEAD_1_3 ? RUSTLS_APPLICATION_DATA : call->type))
		return false;
	/* Capacity and pointer, in whichever order. */
	address = words[0] > words[1] ? words[0] : words[1];
	if (bpf_probe_read_user(&room, TLS_HEADER, (void *)address) || room)
		return false;
	sealed->address = address;
	sealed->header = (__u32)(20 + type) << 16 | (__u16)(words[2] - TLS_HEADER);
	return true;
}

/*
 * Ok(OutboundOpaqueMessage): behind a word that says so or, where errors take less room (as in 0.23.12),
 * without one, since no error has a capacity. A call that failed has neither.
 */
static __always_inline bool has_encrypted(struct rustls_call *call, struct sealed *sealed)
{
	return is_sealed(call, sealed, call->result + sizeof(__u64)) ||
	       is_sealed(call, sealed, call->result);
}

/* The half that a call was on, which is begun with it where its sequence does not follow. */
static __noinline struct tls_session *half_of(struct rustls_call *call)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct tls_object key = { .address = call->call.object, .pid = pid };
	__u64 sequence = call->sequence, *expected = bpf_map_lookup_elem(&rustls_sequences, &key);
	struct tls_session *session = find_session(key.address, pid);

	if (session && (!sequence || !expected || sequence != *expected)) {
		end_session(session, key.address);
		session = NULL;
	}
	if (!session) {
		session = replace_session(key.address, pid, call->call.target);
		if (!session)
			return NULL;
		session->half = call->call.kind == TLS_READ ? HALF_RECEIVED : HALF_SENT;
		session->from_start = !sequence;
	}
	sequence += 1;
	bpf_map_update_elem(&rustls_sequences, &key, &sequence, BPF_ANY);
	return session;
}

/* What is captured of a message begins anew when the other end had its turn. */
static __always_inline void take_turn(struct tls_session *session)
{
	__u8 *last = bpf_map_lookup_elem(&rustls_turns, &session->carrier);
	__u8 half = session->half;

	if (last && *last == half)
		return;
	session->state.run_direction = 0;
	if (session->carrier)
		bpf_map_update_elem(&rustls_turns, &session->carrier, &half, BPF_ANY);
}

/*
 * Tells of the next slice of what was encrypted; false when there is no more. A global function, as
 * `tell`.
 */
__noinline int tell_chunk(void)
{
	__u64 thread = bpf_get_current_pid_tgid(), slice[2];
	struct rustls_call *call = bpf_map_lookup_elem(&rustls_calls, &thread);
	struct tls_session *session;

	if (!call || !call->count || !call->length)
		return 0;
	session = find_session(call->call.object, thread >> 32);
	if (!session || bpf_probe_read_user(slice, sizeof(slice), (void *)call->chunks))
		return 0;
	call->chunks += sizeof(slice);
	call->count -= 1;
	if (slice[1] <= call->ahead) {
		call->ahead -= slice[1];
		return 1;
	}
	slice[1] -= call->ahead;
	call->call.buffer = slice[0] + call->ahead;
	call->ahead = 0;
	if (slice[1] > call->length)
		slice[1] = call->length;
	call->length -= slice[1];
	tell_call(&call->call, session, slice[1]);
	return 1;
}

static __always_inline void tell_message(struct rustls_call *call, struct tls_session *session)
{
	if (call->chunks) {
		for (int chunk = 0; chunk < MAX_CHUNKS; chunk++)
			if (!tell_chunk())
				break;
		/* What is in more slices is a hole. */
		call->call.buffer = 0;
	}
	if (call->length)
		tell_call(&call->call, session, call->length);
}

static __always_inline void rustls_returned_from(struct rustls_call *call)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32, flags = call->call.flags;
	struct sealed sealed = {};
	struct tls_session *session;

	if (!(call->call.kind == TLS_READ ? has_decrypted(call) : has_encrypted(call, &sealed))) {
		count_unproven();
		return;
	}
	session = half_of(call);
	if (!session) {
		count_dropped(1, call->length);
		return;
	}
	if (sealed.address && !session->carrier)
		print_record(call, session, sealed.address, sealed.header);
	if (call->type != RUSTLS_APPLICATION_DATA || !call->length)
		return;
	if (session->carrier) {
		call->call.carrier = 0;
		flags = session->state.flags & STATE_EXCLUDED ? CALL_UNWANTED : 0;
	}
	if (call->call.carrier || session->state.pid != pid)
		session = make_session(call->call.object, call->call.carrier, call->call.target,
				       flags);
	if (!session)
		return;
	take_turn(session);
	tell_message(call, session);
}

static __always_inline int rustls_ends(struct pt_regs *registers)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct rustls_call *call = bpf_map_lookup_elem(&rustls_calls, &thread);

	if (!call || !call->call.object)
		return 0;
	/* The address of a result that is larger than two words is returned itself. */
	if (PT_REGS_RC(registers) == call->result)
		rustls_returned_from(call);
	else
		count_unproven();
	call->call.object = 0;
	return 0;
}

/* At an instruction that returns, or on the way there. */
SEC("uprobe")
int rustls_returns(struct pt_regs *registers)
{
	return rustls_ends(registers);
}

SEC("uretprobe")
int rustls_returned(struct pt_regs *registers)
{
	return rustls_ends(registers);
}

#endif
