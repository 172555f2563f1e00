/* The same exchanges by every call that can carry them.
 *
 * transfers CALLS PORT
 *   Five exchanges of a POST of 3,000 bytes and an answer of 5,000, both ends by the calls named in
 *   the table below. `nonblocking` has bodies of 4 MB and small socket buffers instead. */
#include "uring.h"
#include <poll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

enum { EXCHANGES = 5, REQUEST_BODY = 3000, RESPONSE_BODY = 5000, PARTS = 5, LARGE_BODY = 4 << 20 };

/* ---- one buffer ---- */

static ssize_t put_send(int fd, const char *bytes, size_t length)
{
	return send(fd, bytes, length, MSG_NOSIGNAL);
}

static ssize_t get_recv(int fd, char *bytes, size_t length)
{
	return recv(fd, bytes, length, 0);
}

static ssize_t put_sendto(int fd, const char *bytes, size_t length)
{
	return sendto(fd, bytes, length, 0, NULL, 0);
}

static ssize_t get_recvfrom(int fd, char *bytes, size_t length)
{
	struct sockaddr_storage peer;
	socklen_t size = sizeof(peer);
	return recvfrom(fd, bytes, length, 0, (struct sockaddr *)&peer, &size);
}

/* Looks at everything before it takes it, twice, the second time in part. */
static ssize_t get_peek(int fd, char *bytes, size_t length)
{
	struct iovec iov = { bytes, length };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	CHECK(recv(fd, bytes, length, MSG_PEEK));
	CHECK(recvmsg(fd, &message, MSG_PEEK));
	return recv(fd, bytes, length < 700 ? length : 700, 0);
}

/* ---- several buffers ---- */

/* Cuts a buffer into parts of unlike lengths, none of which ends where a line does. */
static int cut(struct iovec parts[PARTS], const char *bytes, size_t length)
{
	static const size_t lengths[PARTS - 1] = { 3, 14, 1, 40 };
	int count = 0;
	for (size_t at = 0; at < length; count++) {
		size_t here = length - at;
		if (count < PARTS - 1 && lengths[count] < here)
			here = lengths[count];
		parts[count] = (struct iovec){ (char *)bytes + at, here };
		at += here;
	}
	return count;
}

static ssize_t put_writev(int fd, const char *bytes, size_t length)
{
	struct iovec parts[PARTS];
	return writev(fd, parts, cut(parts, bytes, length));
}

static ssize_t get_readv(int fd, char *bytes, size_t length)
{
	struct iovec parts[PARTS];
	return readv(fd, parts, cut(parts, bytes, length));
}

static ssize_t put_sendmsg(int fd, const char *bytes, size_t length)
{
	struct iovec parts[PARTS];
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = cut(parts, bytes, length) };
	return sendmsg(fd, &message, 0);
}

static ssize_t get_recvmsg(int fd, char *bytes, size_t length)
{
	struct iovec parts[PARTS];
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = cut(parts, bytes, length) };
	return recvmsg(fd, &message, 0);
}

/* Each part as a message of its own. */
static int cut_messages(struct mmsghdr messages[PARTS], struct iovec parts[PARTS],
			const char *bytes, size_t length)
{
	int count = cut(parts, bytes, length);
	memset(messages, 0, PARTS * sizeof(*messages));
	for (int i = 0; i < count; i++)
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &parts[i], .msg_iovlen = 1 };
	return count;
}

static ssize_t put_sendmmsg(int fd, const char *bytes, size_t length)
{
	struct iovec parts[PARTS];
	struct mmsghdr messages[PARTS];
	int count = cut_messages(messages, parts, bytes, length), sent;
	ssize_t total = 0;
	if ((sent = sendmmsg(fd, messages, count, 0)) < 0)
		return -1;
	for (int i = 0; i < sent; i++)
		total += messages[i].msg_len;
	return total;
}

static ssize_t get_recvmmsg(int fd, char *bytes, size_t length)
{
	struct iovec parts[PARTS];
	struct mmsghdr messages[PARTS];
	int count = cut_messages(messages, parts, bytes, length), got;
	ssize_t total = 0;
	if ((got = recvmmsg(fd, messages, count, MSG_WAITFORONE, NULL)) < 0)
		return -1;
	/* More may arrive while a call goes from part to part: one that is not full need not be last. */
	for (int i = 0; i < got; i++) {
		memmove(bytes + total, parts[i].iov_base, messages[i].msg_len);
		total += messages[i].msg_len;
	}
	return total;
}

/* ---- no buffer in user space ---- */

/* Heads go by write, as they do in servers; all else by way of a file. */
static ssize_t put_sendfile(int fd, const char *bytes, size_t length)
{
	const char *end = memmem(bytes, length, "\r\n\r\n", 4);
	if (end)
		return write(fd, bytes, end + 4 - bytes);
	int file = CHECK(memfd_create("body", 0));
	REQUIRE(CHECK(write(file, bytes, length)) == (ssize_t)length);
	off_t offset = 0;
	ssize_t sent = sendfile(fd, file, &offset, length);
	CHECK(close(file));
	return sent;
}

static ssize_t put_splice(int fd, const char *bytes, size_t length)
{
	const char *end = memmem(bytes, length, "\r\n\r\n", 4);
	if (end)
		return write(fd, bytes, end + 4 - bytes);
	int ends[2];
	CHECK(pipe(ends));
	ssize_t queued = CHECK(write(ends[1], bytes, length));
	ssize_t sent = splice(ends[0], NULL, fd, NULL, queued, 0);
	CHECK(close(ends[0]));
	CHECK(close(ends[1]));
	REQUIRE(sent == queued);
	return sent;
}

/* Heads go by write, all else by io_uring. */
static ssize_t put_uring_body(int fd, const char *bytes, size_t length)
{
	const char *end = memmem(bytes, length, "\r\n\r\n", 4);
	if (end)
		return write(fd, bytes, end + 4 - bytes);
	return put_uring_send(fd, bytes, length);
}

/* ---- what cannot be done at once ---- */

static void wait_for(int fd, short events)
{
	struct pollfd poll_fd = { .fd = fd, .events = events };
	CHECK(poll(&poll_fd, 1, -1));
}

static unsigned long refusals, partials;

static ssize_t put_nonblocking(int fd, const char *bytes, size_t length)
{
	for (;;) {
		ssize_t sent = send(fd, bytes, length, MSG_DONTWAIT);
		partials += sent >= 0 && (size_t)sent < length;
		if (sent >= 0 || errno != EAGAIN)
			return sent;
		refusals++;
		wait_for(fd, POLLOUT);
	}
}

static ssize_t get_nonblocking(int fd, char *bytes, size_t length)
{
	for (;;) {
		ssize_t got = recv(fd, bytes, length, MSG_DONTWAIT);
		if (got >= 0 || errno != EAGAIN)
			return got;
		refusals++;
		wait_for(fd, POLLIN);
	}
}

/* ---- the exchanges ---- */

static const struct calls {
	const char *name;
	put_function put;
	get_function get;
} table[] = {
	{ "write", put_write, get_read },
	{ "send", put_send, get_recv },
	{ "sendto", put_sendto, get_recvfrom },
	{ "writev", put_writev, get_readv },
	{ "sendmsg", put_sendmsg, get_recvmsg },
	{ "sendmmsg", put_sendmmsg, get_recvmmsg },
	{ "peek", put_write, get_peek },
	{ "sendfile", put_sendfile, get_read },
	{ "splice", put_splice, get_read },
	{ "nonblocking", put_nonblocking, get_nonblocking },
	{ "uring-body", put_uring_body, get_read },
	{ "uring-send", put_uring_send, get_uring_recv },
	{ "uring-write", put_uring_write, get_uring_read },
	{ "uring-sendmsg", put_uring_sendmsg, get_uring_recvmsg },
};

static const struct calls *calls;
static int listener;
static size_t request_body = REQUEST_BODY, response_body = RESPONSE_BODY;

static struct stream *stream_over(int fd)
{
	struct stream *stream = stream_new(fd);
	stream->put = calls->put;
	stream->get = calls->get;
	return stream;
}

static void run_server(void *argument)
{
	(void)argument;
	struct stream *stream = stream_over(tcp_accept(listener));
	serve(stream, response_body);
	printf("server_refusals %lu\nserver_partials %lu\n", refusals, partials);
}

int main(int count, char **values)
{
	if (count != 3)
		return 2;
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
		if (!strcmp(values[1], table[i].name))
			calls = &table[i];
	REQUIRE(calls);
	listener = tcp_listen(atoi(values[2]));
	if (calls->put == put_nonblocking) {
		int small = 16 << 10;
		CHECK(setsockopt(listener, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)));
		CHECK(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)));
		request_body = response_body = LARGE_BODY;
	}
	announce("client");
	if (!strncmp(calls->name, "uring", 5))
		ring_require();
	pid_t server = start("server", run_server, NULL);
	struct stream *stream = stream_over(tcp_connect(atoi(values[2])));
	announce_port(stream->fd);
	for (int i = 0; i < EXCHANGES; i++) {
		char path[64];
		snprintf(path, sizeof(path), "/%s/%d", calls->name, i);
		put_request(stream, path, request_body);
		get_response(stream, path);
	}
	CHECK(close(stream->fd));
	printf("client_refusals %lu\nclient_partials %lu\n", refusals, partials);
	fflush(stdout);
	finish(server);
	return 0;
}
