/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * TLS sessions: one an object of the library, and which connection carries it. Programs on the
 * library's functions (tls.h) and those on sockets meet here:
 *
 *   SSL_write begins ─► call ◄─ a transfer on a socket meanwhile: that is the one
 *     BIO_write ─► the first bytes of the ciphertext ◄─ a later transfer that begins with them
 *   SSL_write returns ─► session: plaintext, under a number of its own
 */
#ifndef PIXIE_SESSION_H
#define PIXIE_SESSION_H

/* Numbers of sessions have it, and those of connections do not. */
#define SESSION_BIT (1ULL << 63)

#define TLS_HANDSHAKE_RECORD 22
#define TLS_HEADER 5       /* bytes before the content of a record: RFC 8446, section 5.1 */
#define PRINTED_BYTES 32   /* of ciphertext, by which it is known again */

enum tls_kind {
	TLS_HANDSHAKE, /* none of the program's bytes */
	TLS_READ,
	TLS_WRITE,
	TLS_SEND_FILE,
	TLS_GO_WRITE,     /* of that many bytes as `done` says */
	TLS_PLACED_WRITE, /* the same, and its place in the stream is taken */
};

/* An object of a library. Another process may have another one at the same address. */
struct tls_object {
	__u64 address;
	__u64 pid;
};

/* Of some libraries, one object is what is written, and another one what is read. */
enum half {
	WHOLE,
	HALF_SENT,
	HALF_RECEIVED,
};

struct tls_session {
	struct state state; /* of the plaintext; its connection is the session's number */
	__u64 carrier;      /* the connection that carries it; 0 when it is not known */
	__u64 start_time;   /* of the process, because pids come again */
	__u64 answered;     /* when something was last read while a placed write was under way */
	__u32 writing;      /* how many of those there are */
	__u32 placed;       /* where the last of them begins */
	__u32 target;
	__u8 from_start; /* its handshake was seen to begin */
	__u8 ending;     /* it ends when what is under way to be written is told of */
	__u8 by_kernel;  /* the kernel encrypts what is sent */
	__u8 half;       /* enum half */
};

/* Who is inside a call: a thread or, of a Go program, a goroutine (then `thread` is the process). */
struct tls_caller {
	__u64 thread;
	__u64 goroutine;
};

struct tls_call {
	__u64 object; /* 0 when no call is under way */
	__u64 buffer;
	__u64 done;    /* where the number of bytes will be put; 0 when it is what is returned */
	__u64 carrier; /* the connection that is known to carry the session, or was used meanwhile */
	__s64 frame;   /* the stack pointer: the deeper the call the lower */
	__u64 began;   /* when; of a placed write */
	__u32 place;   /* of a placed write, in the stream */
	__u32 target;
	__u8 kind;     /* enum tls_kind */
	__u8 printed;  /* ciphertext has left it that is known again */
	__u8 nested;   /* enum nested_flag */
	__u8 flags;    /* enum call_flag */
	__u32 _pad;
};

/* What a call has inside. */
enum nested_flag {
	NESTED_OTHER = 1, /* there may be one on another object, in tls_nested */
	NESTED_OWN = 2,   /* those on the same object are parts of it */
};

/* What was seen of what a call gave to a socket. */
enum call_flag {
	CALL_UNWANTED = 1,   /* the connection is filtered out */
	CALL_FROM_START = 2, /* it began with a record of the handshake */
	CALL_BY_KERNEL = 4,  /* it was the plaintext itself */
};

/* User space makes these small where no TLS is asked for. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, struct tls_object);
	__type(value, struct tls_session);
} tls_sessions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, struct tls_caller);
	__type(value, struct tls_call);
} tls_calls SEC(".maps");

/* Of TLS inside TLS, as through a proxy, the inner calls of the library. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct tls_caller);
	__type(value, struct tls_call);
} tls_nested SEC(".maps");

/*
 * Bytes that were read by a call of which only the return was seen, because it was under way when its
 * function was probed. Whose they are is known when who called reads again.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct tls_caller);
	__type(value, __u32);
} tls_missed SEC(".maps");

struct tls_print {
	__u64 hash;
	__u64 pid;
};

struct tls_printed {
	__u64 object;
	__u32 target;
	__u32 flags; /* enum call_flag */
	__u64 session; /* of rustls: which of those that the object was in turn */
};

/* Ciphertext that left a library into memory, by the hash of its first bytes: whose it is. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct tls_print);
	__type(value, struct tls_printed);
} tls_prints SEC(".maps");

/* Processes of which there are, or were, such. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u8);
} tls_printers SEC(".maps");

enum tls_process {
	GO_REGISTERS = 1, /* calls are goroutines', and have this ABI */
	GO_STACK = 2,
	HAS_RUSTLS = 3,
};

/* Processes of which there is something to know: enum tls_process. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u8);
} tls_processes SEC(".maps");

/*
 * No two sessions begin on one CPU within a nanosecond. A count would not do: these programs can be
 * preempted by each other. 2^50 nanoseconds are 13 days.
 */
static __always_inline __u64 new_session(void)
{
	__u64 cpu = bpf_get_smp_processor_id() & 0x1fff;

	return SESSION_BIT | cpu << 50 | (bpf_ktime_get_ns() & ((1ULL << 50) - 1));
}

static __always_inline struct task_struct *current_leader(void)
{
	return BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), group_leader);
}

static __always_inline __u64 process_start(void)
{
	return BPF_CORE_READ(current_leader(), start_boottime);
}

static __always_inline struct tls_session *find_session(__u64 object, __u32 pid)
{
	struct tls_object key = { .address = object, .pid = pid };
	struct tls_session *session = bpf_map_lookup_elem(&tls_sessions, &key);

	return session && session->start_time == process_start() ? session : NULL;
}

/* First sight of a session, or of the connection that carries it. */
static __noinline void announce_session(struct tls_session *session)
{
	void *ring = my_ring();
	struct secure_event *secure = ring ? reserve(ring, sizeof(*secure), 0) : NULL;

	if (!secure)
		return;
	__builtin_memset(secure, 0, sizeof(*secure));
	secure->event.kind = EVENT_SECURE;
	secure->event.time = bpf_ktime_get_ns();
	secure->event.connection = session->state.connection;
	secure->event.flags = (session->from_start ? FLAG_FROM_START : 0) |
			      (session->by_kernel ? FLAG_BY_KERNEL : 0);
	if (session->half) {
		secure->event.direction = session->half == HALF_SENT ? SENT : RECEIVED;
		secure->event.flags |= settings.filter_ports ? FLAG_HALF | FLAG_FILTERED : FLAG_HALF;
	}
	secure->start_time = session->start_time;
	secure->cgroup = bpf_get_current_cgroup_id();
	secure->carrier = session->carrier;
	secure->pid = bpf_get_current_pid_tgid() >> 32;
	secure->target = session->target;
	bpf_probe_read_kernel_str(secure->comm, sizeof(secure->comm), &current_leader()->comm);
	session->state.pid = secure->pid;
	submit(&secure->event);
}

static __noinline void tell_gap(struct tls_session *session, __u8 direction, __u8 hole,
				__u32 position, __u32 length)
{
	struct event *event = length ? begin_event(EVENT_DATA) : NULL;

	if (!event)
		return;
	event->direction = direction;
	event->hole = hole;
	event->connection = session->state.connection;
	event->position = position;
	event->length = length;
	submit(event);
}

/* What was said before it was known that this is on a connection that is asked for is a gap. */
static __always_inline void tell_unplaced(struct tls_session *session)
{
	__u32 *position = session->state.position;
	__u32 sent = session->writing ? session->placed : position[SENT];

	tell_gap(session, SENT, HOLE_UNPLACED, 0, sent);
	tell_gap(session, RECEIVED, HOLE_UNPLACED, 0, position[RECEIVED]);
}

/* The session of this object has ended: it was freed, or another one has its place. */
static __noinline void end_session(struct tls_session *session, __u64 object)
{
	struct tls_object key = { .address = object, .pid = bpf_get_current_pid_tgid() >> 32 };
	struct event *event;

	if (session->state.pid) {
		event = begin_event(EVENT_CLOSE);
		if (event) {
			event->connection = session->state.connection;
			event->position = session->state.position[SENT];
			event->length = session->state.position[RECEIVED];
			event->flags = FLAG_SENT_KNOWN | FLAG_RECEIVED_KNOWN;
			submit(event);
		}
	}
	bpf_map_delete_elem(&tls_sessions, &key);
}

/* A function of its own, because of the stack that all of them share. */
static __noinline struct tls_session *begin_session(struct tls_object *key, __u32 target)
{
	struct tls_session fresh = {};

	fresh.state.connection = new_session();
	fresh.state.transport = TRANSPORT_TCP;
	fresh.state.early = EARLY_TRANSFERS;
	fresh.start_time = process_start();
	fresh.target = target;
	bpf_map_update_elem(&tls_sessions, key, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&tls_sessions, key);
}

/* The same, in the place of one that another process had, whose pid has come again. */
static __always_inline struct tls_session *replace_session(__u64 object, __u32 pid, __u32 target)
{
	struct tls_object key = { .address = object, .pid = pid };

	bpf_map_delete_elem(&tls_sessions, &key);
	return begin_session(&key, target);
}

/*
 * The session of this object, which is announced where that is due. One that was on another
 * connection is another session: addresses are used again.
 */
static __noinline struct tls_session *make_session(__u64 object, __u64 carrier, __u32 target,
						   __u32 flags)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct tls_object key = { .address = object, .pid = pid };
	struct tls_session *session = bpf_map_lookup_elem(&tls_sessions, &key);
	bool unplaced;

	if (session && session->start_time != process_start()) {
		bpf_map_delete_elem(&tls_sessions, &key);
		session = NULL;
	}
	if (session && carrier && session->carrier && session->carrier != carrier) {
		end_session(session, object);
		session = NULL;
	}
	if (!session)
		session = begin_session(&key, target);
	if (!session)
		return NULL;
	if (carrier && !session->carrier) {
		session->carrier = carrier;
		session->state.pid = 0;
	}
	if (flags & CALL_FROM_START)
		session->from_start = 1;
	if (flags & CALL_BY_KERNEL && !session->by_kernel) {
		session->by_kernel = 1;
		session->state.pid = 0;
	}
	unplaced = session->state.flags & STATE_EXCLUDED;
	session->state.flags &= ~STATE_EXCLUDED;
	/* Where only some ports are asked for, it has to be known to be on one of them. User space waits
	 * until that is known of halves. */
	if (settings.filter_ports &&
	    (flags & CALL_UNWANTED || (!session->carrier && !session->half)))
		session->state.flags |= STATE_EXCLUDED;
	else if (session->state.pid != pid)
		announce_session(session);
	if (unplaced && !(session->state.flags & STATE_EXCLUDED))
		tell_unplaced(session);
	return session;
}

/*
 * Where the bytes of a transfer begin; 0 when that cannot be told. No more is read than is needed:
 * Linux 5.10 allows 512 bytes of stack for all functions that are under way.
 */
static __always_inline __u64 first_address(__u64 kind, __u64 address)
{
	struct user_message *message = (struct user_message *)address;
	struct user_iovec *piece;
	__u64 found = address;

	if (kind == PAYLOAD_MESSAGE) {
		if (bpf_probe_read_user(&found, sizeof(found), &message->vector))
			return 0;
		kind = PAYLOAD_VECTOR;
	}
	if (kind == PAYLOAD_VECTOR) {
		piece = (struct user_iovec *)found;
		if (bpf_probe_read_user(&found, sizeof(found), &piece->base))
			return 0;
		return found;
	}
	return kind == PAYLOAD_BUFFER ? found : 0;
}

/* The type of the record that begins here, if it has a version from SSL 3.0 to TLS 1.3, or of DTLS;
 * else 0. */
static __always_inline __u8 begins_record(__u64 address)
{
	__u8 header[TLS_HEADER];

	if (!address || bpf_probe_read_user(header, sizeof(header), (void *)address))
		return 0;
	if (header[0] < 20 || header[0] > 24)
		return 0;
	if ((header[1] == 3 && header[2] <= 4) || (header[1] == 0xfe && header[2] >= 0xfc))
		return header[0];
	return 0;
}

#define PRINT_START 0xcbf29ce484222325ULL

static __always_inline __u64 print_step(__u64 hash, __u64 word)
{
	return ((hash >> 29) ^ hash ^ word) * 0x9e3779b97f4a7c15ULL;
}

/* 0 when there is not enough of it. */
static __always_inline __u64 print_of(__u64 address)
{
	__u64 hash = PRINT_START, word;

#pragma unroll
	for (int at = 0; at < PRINTED_BYTES; at += sizeof(word)) {
		if (bpf_probe_read_user(&word, sizeof(word), (void *)(address + at)))
			return 0;
		hash = print_step(hash, word);
	}
	return hash | 1;
}

/* Whose ciphertext begins so; NULL when that is not known. */
static __noinline struct tls_printed *printed_by(__u64 address, __u32 pid)
{
	struct tls_print print = { .pid = pid };

	if (!address || !bpf_map_lookup_elem(&tls_printers, &pid))
		return NULL;
	print.hash = print_of(address);
	return bpf_map_lookup_elem(&tls_prints, &print);
}

/* The call that the current task is in; `caller` is who makes it. */
static __always_inline struct tls_call *call_under_way(struct tls_caller *caller, __u32 pid,
						       bool *has_rustls)
{
	struct tls_call *call;
	__u8 *process;

	caller->thread = bpf_get_current_pid_tgid();
	caller->goroutine = 0;
	call = bpf_map_lookup_elem(&tls_calls, caller);
	if (call && call->object)
		return call;
	process = bpf_map_lookup_elem(&tls_processes, &pid);
	if (!process)
		return NULL;
	if (*process == HAS_RUSTLS) {
		*has_rustls = true;
		return NULL;
	}
	caller->thread = pid;
	caller->goroutine = *process == GO_REGISTERS ? goroutine_by_register() :
						       goroutine_by_thread();
	call = bpf_map_lookup_elem(&tls_calls, caller);
	return call && call->object ? call : NULL;
}

/* The connection is that of the calls that are inside of this one, too. */
static __always_inline void carried_by(struct tls_caller *caller, struct tls_call *call,
				       struct state *state, __u8 begun)
{
	struct tls_call *inner = NULL;

	call->carrier = state->connection;
	call->flags = begun | (state->flags & STATE_EXCLUDED ? CALL_UNWANTED : 0);
	if (call->nested & NESTED_OTHER)
		inner = bpf_map_lookup_elem(&tls_nested, caller);
	if (inner && inner->object) {
		inner->carrier = state->connection;
		inner->flags = call->flags;
	}
}

/*
 * What the program gave to be encrypted goes over the socket as it is, out of the program's own buffer
 * or file: the kernel encrypts it there (Documentation/networking/tls.rst).
 */
static __always_inline bool is_plaintext(struct tls_call *call, __u32 direction, __u64 kind,
					 __u64 address)
{
	if (direction != SENT)
		return false;
	if (call->kind == TLS_SEND_FILE)
		return kind == PAYLOAD_NOT_IN_USER;
	return call->kind == TLS_WRITE && first_address(kind, address) == call->buffer;
}

/*
 * A transfer on a socket, which may be of a TLS session's ciphertext. It is if it begins with what
 * a library gave out before, or if it begins with a record and is done from inside the library:
 * functions of the program that the library calls do other things, such as looking up names.
 *
 * True where it is another library's, as far as it is any's.
 */
static __noinline bool seen_by_tls(struct state *state, __u32 direction, __u64 kind, __u64 address)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct tls_printed *printed = NULL;
	bool has_rustls = false;
	struct tls_caller caller;
	struct tls_call *call = call_under_way(&caller, pid, &has_rustls);

	if (call && call->carrier == state->connection) {
		if (is_plaintext(call, direction, kind, address))
			call->flags |= CALL_BY_KERNEL;
		return false;
	}
	if (has_rustls)
		return true;
	if (!call && (direction != SENT || state->flags & STATE_SECURED))
		return false;
	address = first_address(kind, address);
	if (direction == SENT)
		printed = printed_by(address, pid);
	if (printed) {
		state->flags |= STATE_SECURED;
		make_session(printed->object, state->connection, printed->target,
			     printed->flags | (state->flags & STATE_EXCLUDED ? CALL_UNWANTED : 0));
		if (call && call->object == printed->object)
			carried_by(&caller, call, state, 0);
		return false;
	}
	if (!call || (direction == SENT && call->printed))
		return false;
	address = begins_record(address);
	if (address)
		carried_by(&caller, call, state,
			   address == TLS_HANDSHAKE_RECORD ? CALL_FROM_START : 0);
	return false;
}

#include "rustls_carrier.h"

#endif
