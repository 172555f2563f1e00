/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Socket traffic by the ends of system calls: the descriptor tells the socket. The file that includes
 * this has defined told_otherwise(state): whether a connection's transfers are seen by other means.
 */
#ifndef PIXIE_ON_SYSCALL_H
#define PIXIE_ON_SYSCALL_H

/* As many messages of one call are told of (the kernel allows 1024); the rest counts as dropped, and
 * on a stream the next call finds the place again. */
#define MESSAGES 128

static __always_inline __u32 flags_of(struct call *call)
{
	switch (call->number) {
	case SYS_RECVFROM:
	case SYS_RECVMMSG:
		return call->arguments[3];
	case SYS_RECVMSG:
		return call->arguments[2];
	default:
		return 0;
	}
}

static __always_inline __u32 length_of_message(__u64 address)
{
	__u32 length = 0;

	bpf_probe_read_user(&length, sizeof(length),
			    (void *)(address + sizeof(struct user_message)));
	return length;
}

/*
 * One message of many; returns its length. A global function, so that the verifier looks at it once
 * and not once for every message; that allows it numbers only as arguments.
 */
__noinline int message_transferred(__u64 sk, __u64 inode, __u32 direction, __u64 address,
				   __u64 behind)
{
	struct payload payload = { .kind = PAYLOAD_MESSAGE, .address = address };
	struct state *state = make_state((struct sock *)sk, inode);
	__u32 length = length_of_message(address);

	payload.behind = behind - length;
	if (state)
		transferred(1, (struct sock *)sk, state, direction, length, &payload);
	return length;
}

/* The bytes of all messages together. */
__noinline __u64 length_of_messages(__u64 address, __u32 messages)
{
	__u64 length = 0;

	for (int index = 0; index < MESSAGES; index++) {
		if (index >= messages)
			break;
		length += length_of_message(address);
		address += sizeof(struct user_message_vector);
	}
	return length;
}

static __always_inline void on_messages(struct sock *sk, __u64 inode, __u32 direction,
					struct call *call, __u32 messages)
{
	__u64 address = call->arguments[1];
	__u64 left = length_of_messages(address, messages);

	for (int index = 0; index < MESSAGES; index++) {
		if (index >= messages)
			return;
		left -= message_transferred((__u64)sk, inode, direction, address, left);
		address += sizeof(struct user_message_vector);
	}
	count_dropped(messages - MESSAGES, 0);
}

static __always_inline int on_transfer(struct call *call, __u32 descriptor, __u32 direction,
				       __s64 result)
{
	__u32 flags = flags_of(call);
	struct payload payload;
	struct state *state;
	struct sock *sk;
	__u64 inode = 0;

	if (result < 0 || flags & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE))
		return 0;
	sk = socket_of(descriptor, &inode);
	if (!sk)
		return 0;
	if (call->number == SYS_SENDMMSG || call->number == SYS_RECVMMSG) {
		on_messages(sk, inode, direction, call, result);
		return 0;
	}
	state = make_state(sk, inode);
	if (!state || told_otherwise(state))
		return 0;
	locate(&payload, call);
	if (flags & MSG_TRUNC && !is_datagram(state->transport))
		payload.kind = PAYLOAD_NOT_IN_USER;
	transferred(0, sk, state, direction, result, &payload);
	return 0;
}

static __always_inline int on_syscall(struct call *call, __s64 result)
{
	int direction = direction_of(call->number);
	__u32 descriptor = call->arguments[0];
	__u64 inode;

	/* Of its two descriptors one is a pipe, and the other may be a socket. */
	if (call->number == SYS_SPLICE) {
		direction = RECEIVED;
		if (!socket_of(descriptor, &inode)) {
			direction = SENT;
			descriptor = call->arguments[2];
		}
	}
	if (direction < 0)
		return 0;
	return on_transfer(call, descriptor, direction, result);
}

#endif
