/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The ends of sockets and of processes. */
#ifndef PIXIE_LIFETIME_H
#define PIXIE_LIFETIME_H

/*
 * A FIN takes a place in the sequence, but is no byte. A socket that was closed in an orderly way has
 * sent one; of one that was reset it cannot be told.
 */
static __always_inline __u32 sent_position(struct sock *sk, struct tcp_sock *tcp, __u32 last)
{
	__u32 final = READ(tcp, write_seq);

	if (final - last == 1 || (final != last && !READ(sk, sk_err)))
		final -= 1;
	return final;
}

/*
 * The last that is heard of a TCP socket. inet_sock_set_state would tell of its end earlier, but
 * then the process may still have to read what has come in.
 */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(tcp_destroyed, struct sock *sk)
{
	struct state *state = find_state(sk);
	struct tcp_sock *tcp;
	struct event *event;

	if (!state)
		return 0;
	if (!(state->flags & STATE_ANNOUNCED) || state->flags & STATE_EXCLUDED)
		goto forget;
	event = begin_event(EVENT_CLOSE);
	if (!event)
		goto forget;
	event->connection = state->connection;
	event->position = state->position[SENT];
	event->length = state->position[RECEIVED];
	event->flags = (state->flags & STATE_SENT ? FLAG_SENT_KNOWN : 0) |
		       (state->flags & STATE_RECEIVED ? FLAG_RECEIVED_KNOWN : 0);
	tcp = READ(sk, sk_protocol) == IPPROTO_TCP ? as_tcp(sk) : NULL;
	if (tcp && !READ(tcp, inet_conn.icsk_ulp_ops)) {
		event->position = sent_position(sk, tcp, event->position);
		event->length = received_position(sk, tcp);
	}
	submit(event);
forget:
	forget_state(sk);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exited, struct task_struct *task)
{
	struct event *event;

	/* The last of the process's threads. */
	if (task->signal->live.counter)
		return 0;
	event = begin_event(EVENT_EXIT);
	if (event) {
		event->length = task->tgid;
		submit(event);
	}
	return 0;
}

#endif
