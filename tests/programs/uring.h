/* Socket transfers by io_uring, without a library: one request at a time. */
#pragma once
#include "peer.h"
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

struct ring {
	int fd;
	unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
};

/* Ends the program with status 77, as much as "cannot run here", where io_uring is refused. */
static inline void ring_require(void)
{
	struct io_uring_params parameters = { 0 };
	int fd = syscall(SYS_io_uring_setup, 4, &parameters);
	if (fd < 0) {
		fprintf(stderr, "io_uring is refused: %s\n", strerror(errno));
		exit(77);
	}
	close(fd);
}

/* The ring of this process, which must not have been opened before a fork. */
static inline struct ring *ring_open(void)
{
	static struct ring ring;
	if (ring.fd)
		return &ring;
	struct io_uring_params parameters = { 0 };
	ring.fd = CHECK(syscall(SYS_io_uring_setup, 4, &parameters));
	/* Since Linux 5.4 both rings are in one mapping (io_uring_setup(2), FEAT_SINGLE_MMAP). */
	REQUIRE(parameters.features & IORING_FEAT_SINGLE_MMAP);
	size_t sq = parameters.sq_off.array + parameters.sq_entries * sizeof(unsigned);
	size_t cq = parameters.cq_off.cqes + parameters.cq_entries * sizeof(struct io_uring_cqe);
	char *rings = mmap(NULL, sq > cq ? sq : cq, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_POPULATE, ring.fd, IORING_OFF_SQ_RING);
	REQUIRE(rings != MAP_FAILED);
	ring.sqes = mmap(NULL, parameters.sq_entries * sizeof(struct io_uring_sqe),
			 PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd,
			 IORING_OFF_SQES);
	REQUIRE(ring.sqes != MAP_FAILED);
	ring.sq_tail = (unsigned *)(rings + parameters.sq_off.tail);
	ring.sq_mask = (unsigned *)(rings + parameters.sq_off.ring_mask);
	ring.sq_array = (unsigned *)(rings + parameters.sq_off.array);
	ring.cq_head = (unsigned *)(rings + parameters.cq_off.head);
	ring.cq_tail = (unsigned *)(rings + parameters.cq_off.tail);
	ring.cq_mask = (unsigned *)(rings + parameters.cq_off.ring_mask);
	ring.cqes = (struct io_uring_cqe *)(rings + parameters.cq_off.cqes);
	return &ring;
}

/* Submits one request and waits for its result. */
static inline ssize_t ring_do(int operation, int fd, const void *address, size_t length)
{
	struct ring *ring = ring_open();
	unsigned tail = *ring->sq_tail, index = tail & *ring->sq_mask;
	ring->sqes[index] = (struct io_uring_sqe){
		.opcode = operation,
		.fd = fd,
		.addr = (unsigned long)address,
		.len = length,
	};
	ring->sq_array[index] = index;
	__atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
	CHECK(syscall(SYS_io_uring_enter, ring->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0));
	unsigned head = *ring->cq_head;
	REQUIRE(head != __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE));
	int result = ring->cqes[head & *ring->cq_mask].res;
	__atomic_store_n(ring->cq_head, head + 1, __ATOMIC_RELEASE);
	if (result < 0) {
		errno = -result;
		return -1;
	}
	return result;
}

static inline ssize_t put_uring_send(int fd, const char *bytes, size_t length)
{
	return ring_do(IORING_OP_SEND, fd, bytes, length);
}

static inline ssize_t get_uring_recv(int fd, char *bytes, size_t length)
{
	return ring_do(IORING_OP_RECV, fd, bytes, length);
}

static inline ssize_t put_uring_write(int fd, const char *bytes, size_t length)
{
	return ring_do(IORING_OP_WRITE, fd, bytes, length);
}

static inline ssize_t get_uring_read(int fd, char *bytes, size_t length)
{
	return ring_do(IORING_OP_READ, fd, bytes, length);
}

static inline ssize_t put_uring_sendmsg(int fd, const char *bytes, size_t length)
{
	struct iovec iov = { (void *)bytes, length };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	return ring_do(IORING_OP_SENDMSG, fd, &message, 1);
}

static inline ssize_t get_uring_recvmsg(int fd, char *bytes, size_t length)
{
	struct iovec iov = { bytes, length };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	return ring_do(IORING_OP_RECVMSG, fd, &message, 1);
}
