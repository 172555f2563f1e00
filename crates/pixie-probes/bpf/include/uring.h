/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * io_uring: when a transfer is done, the registers tell of something else (io_uring_enter, or
 * whatever system call the task was in), so the buffer is noted when the request is submitted.
 */
#ifndef PIXIE_URING_H
#define PIXIE_URING_H

/* include/uapi/linux/io_uring.h */
enum {
	OP_READV = 1, OP_WRITEV = 2, OP_READ_FIXED = 4, OP_WRITE_FIXED = 5, OP_SENDMSG = 9,
	OP_RECVMSG = 10, OP_READ = 22, OP_WRITE = 23, OP_SEND = 26, OP_RECV = 27,
};

struct uring_key {
	__u64 sk;
	__u64 direction;
};

struct uring_request {
	__u64 address;
	__u32 count;
	__u32 kind;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct uring_key);
	__type(value, struct uring_request);
} uring_requests SEC(".maps");

/* Nobody pays for io_uring before somebody uses it on a socket. */
__u32 uring_seen = 0;

static __always_inline struct sock *socket_of(__u32 descriptor)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **slots = BPF_CORE_READ(table, fd);
	struct file *file = NULL;
	struct socket *socket;

	if (descriptor >= BPF_CORE_READ(table, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), slots + descriptor);
	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

/* Files registered with the ring are not in the task's table: their payload is a counted hole. */
SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(uring_submitted, struct io_kiocb *request)
{
	struct io_sr_msg *message = (struct io_sr_msg *)request;
	struct io_rw *transfer = (struct io_rw *)request;
	struct uring_request noted = {};
	struct uring_key key = {};

	switch (request->opcode) {
	case OP_READ: case OP_READ_FIXED: case OP_RECV: case OP_READV: case OP_RECVMSG:
		key.direction = RECEIVED;
		break;
	case OP_WRITE: case OP_WRITE_FIXED: case OP_SEND: case OP_WRITEV: case OP_SENDMSG:
		key.direction = SENT;
		break;
	default:
		return 0;
	}
	key.sk = (__u64)socket_of(request->cqe.fd);
	if (!key.sk)
		return 0;
	switch (request->opcode) {
	case OP_SEND: case OP_RECV: case OP_SENDMSG: case OP_RECVMSG:
		noted.address = (__u64)BPF_CORE_READ(message, buf);
		noted.count = BPF_CORE_READ(message, len);
		break;
	default:
		noted.address = BPF_CORE_READ(transfer, addr);
		noted.count = BPF_CORE_READ(transfer, len);
	}
	if (request->opcode == OP_SENDMSG || request->opcode == OP_RECVMSG)
		noted.kind = PAYLOAD_MESSAGE;
	else if (request->opcode == OP_READV || request->opcode == OP_WRITEV)
		noted.kind = PAYLOAD_VECTOR;
	else
		noted.kind = PAYLOAD_BUFFER;
	/* A buffer of the ring's choosing: not known yet. */
	if (!noted.address)
		noted.kind = PAYLOAD_UNKNOWN;
	bpf_map_update_elem(&uring_requests, &key, &noted, BPF_ANY);
	uring_seen = 1;
	return 0;
}

/* Once io_uring is in use, the registers are believed only if they are about this very socket. */
static __always_inline void locate_uring(struct payload *payload, struct call *call,
					 struct sock *sk, __u32 direction, __u32 length)
{
	struct uring_key key = { .sk = (__u64)sk, .direction = direction };
	struct uring_request *noted;

	if (!uring_seen)
		return;
	if (direction_of(call->number) == direction && socket_of(call->arguments[0]) == sk)
		return;
	noted = bpf_map_lookup_elem(&uring_requests, &key);
	if (!noted) {
		if (payload->kind != PAYLOAD_NOT_IN_USER)
			payload->kind = PAYLOAD_UNKNOWN;
		return;
	}
	payload->kind = noted->kind;
	payload->address = noted->address;
	payload->count = noted->count;
	payload->name = 0;
	/* A transfer that was partial goes on behind what is done. */
	if (noted->kind == PAYLOAD_BUFFER)
		noted->address += length;
}

#endif
