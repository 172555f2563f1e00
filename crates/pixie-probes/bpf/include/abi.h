/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What passes between the programs and user space. src/abi.rs is its mirror; a test holds the two
 * against each other by the objects' BTF.
 */
#ifndef PIXIE_ABI_H
#define PIXIE_ABI_H

enum event_kind {
	EVENT_OPEN = 1,
	EVENT_DATA = 2,
	EVENT_DATAGRAM = 3,
	EVENT_CLOSE = 4,
	EVENT_EXIT = 5,
	EVENT_SECURE = 6,
};

enum direction {
	SENT = 0,
	RECEIVED = 1,
};

enum transport {
	TRANSPORT_TCP = 1,
	TRANSPORT_UDP = 2,
	TRANSPORT_UNIX_STREAM = 3,
	TRANSPORT_UNIX_DATAGRAM = 4,
};

enum role {
	ROLE_UNKNOWN = 0,
	ROLE_CLIENT = 1,
	ROLE_SERVER = 2,
};

/* Why fewer bytes were captured than were transferred. */
enum hole {
	HOLE_NONE = 0,
	HOLE_LIMIT = 1,        /* more than is captured of one message */
	HOLE_NOT_IN_USER = 2,  /* sendfile, splice */
	HOLE_UNREADABLE = 3,   /* the page was not resident, or the address is not known */
	HOLE_UNPLACED = 4,     /* it was not known on which connection it was */
};

enum event_flag {
	FLAG_END = 1,            /* data: no more will come in this direction */
	FLAG_SENT_KNOWN = 2,     /* close: the final position of what was sent is known */
	FLAG_RECEIVED_KNOWN = 4, /* close: the same, of what was received */
	FLAG_OTHER_KNOWN = 8,    /* data: `other` is known */
	FLAG_FROM_START = 16,    /* session: its handshake was seen to begin */
	FLAG_BY_KERNEL = 32,     /* session: the kernel encrypts what is sent */
	FLAG_HALF = 64,          /* session: it goes in the event's direction alone */
	FLAG_FILTERED = 128,     /* session: of no interest until its connection is known */
};

/* What every event starts with. */
struct event {
	__u8 kind;      /* enum event_kind */
	__u8 direction; /* enum direction */
	__u8 hole;      /* enum hole */
	__u8 flags;     /* enum event_flag */
	__u32 captured; /* bytes of payload that follow the fixed part */
	__u64 time;     /* CLOCK_MONOTONIC, nanoseconds */
	__u64 connection;
	__u32 position; /* data: of the first byte, modulo 2^32; close: final, of what was sent */
	__u32 length;   /* data: bytes transferred; close: final position of what was received; exit: pid */
	/*
	 * Data that was received: the position up to which this end had sent by then, where part of that
	 * was not told of yet, because the call that sent it is still on its way back.
	 */
	__u32 other;
	__u32 _pad;
};

struct address {
	__u8 bytes[16];
	__be16 port;
	__u16 family;
	__u32 _pad;
};

/* A datagram with its peer; family 0 when the peer is not known. */
struct datagram_event {
	struct event event;
	struct address peer;
};

#define UNIX_PATH 108

struct open_event {
	struct event event;
	__u64 start_time; /* of the process, nanoseconds since boot */
	__u64 cgroup;
	__u32 pid;
	__u8 transport; /* enum transport */
	__u8 role;      /* enum role */
	__u16 _pad;
	char comm[16];
	struct address local;
	struct address remote;
};

/* For Unix sockets: the paths follow. A first byte of 0 means the abstract namespace. */
struct open_unix_event {
	struct open_event open;
	__u32 local_length;
	__u32 remote_length;
	char local_path[UNIX_PATH];
	char remote_path[UNIX_PATH];
};

/*
 * A TLS session was first seen, or the connection that carries it became known. The session has a
 * number of its own, under which its plaintext is told of.
 */
struct secure_event {
	struct event event; /* connection: the session */
	__u64 start_time;   /* of the process, nanoseconds since boot */
	__u64 cgroup;
	__u64 carrier; /* the connection that carries it; 0 when it is not known */
	__u32 pid;
	__u32 target; /* the file that was probed, as user space numbers them; 0 when not known */
	char comm[16];
};

/* What user space decided about a connection. */
enum verdict {
	VERDICT_NONE = 0,
	VERDICT_IGNORE = 1,
	VERDICT_INTRODUCE = 2, /* it was forgotten: say anew what it is */
};

/* One a CPU (modulo their number), only ever added to. */
struct counters {
	__u64 reserved;
	__u64 dropped;
	__u64 dropped_bytes;
	__u64 captured_bytes;
	__u64 unmatched; /* TLS calls that were seen to end, but not to begin */
	__u64 unproven;  /* calls of rustls whose arguments and results did not agree */
	__u64 _pad[2];
};

#define COUNTER_SLOTS 64

struct account {
	struct counters slots[COUNTER_SLOTS];
};

/* Set once, before the programs are loaded. */
struct settings {
	__u32 message_bytes;
	__u32 shards;        /* how many rings there are */
	__u8 filter_pids;    /* only pids in the map `pids` with the value 1 */
	__u8 filter_cgroups;
	__u8 filter_ports;
	__u8 exclude_pids;   /* not pids in the map `pids` with the value 0 */
	__u8 exclude_cgroups;
	__u8 include_self;
	__u8 tls; /* TLS libraries are probed */
	__u8 _pad;
};

#endif
