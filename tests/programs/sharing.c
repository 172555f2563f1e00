/* One socket known by many descriptors, processes and threads, and one descriptor that is many
 * sockets after another.
 *
 * sharing reuse|dup|fork|prefork|pass|threads|waiting|early PORT */
#include "peer.h"
#include <pthread.h>

enum { BODY = 100 };

static int port, listener;

/* Answers as many connections, one after the other, as `argument` says. */
static void serve_in_turn(void *argument)
{
	int connections = *(int *)argument;
	while (connections-- > 0) {
		struct stream *stream = stream_new(tcp_accept(listener));
		serve(stream, BODY);
		CHECK(close(stream->fd));
		free(stream);
	}
}

/* The same descriptor, a new connection each time. */
static void run_reuse(void)
{
	int connections = 3, first = -1;
	char path[64];
	pid_t server = start("server", serve_in_turn, &connections);
	for (int i = 0; i < connections; i++) {
		struct stream *stream = stream_new(tcp_connect(port));
		REQUIRE(first == -1 || first == stream->fd);
		first = stream->fd;
		announce_port(stream->fd);
		snprintf(path, sizeof(path), "/reuse/%d", i);
		ask(stream, path);
		CHECK(close(stream->fd));
		free(stream);
	}
	finish(server);
}

/* A request by one descriptor, its answer by a duplicate, the next one after the first is closed. */
static void run_dup(void)
{
	int connections = 1;
	pid_t server = start("server", serve_in_turn, &connections);
	struct stream *stream = stream_new(tcp_connect(port));
	int original = stream->fd, duplicate = CHECK(dup(original));
	put_request(stream, "/dup/0", 0);
	stream->fd = duplicate;
	get_response(stream, "/dup/0");
	CHECK(close(original));
	ask(stream, "/dup/1");
	stream->fd = CHECK(dup2(duplicate, 100));
	CHECK(close(duplicate));
	ask(stream, "/dup/2");
	CHECK(close(stream->fd));
	finish(server);
}

static void ask_in_child(void *stream)
{
	ask(stream, "/fork/1");
}

/* A client whose child goes on with its connection. */
static void run_fork(void)
{
	int connections = 1;
	pid_t server = start("server", serve_in_turn, &connections);
	struct stream *stream = stream_new(tcp_connect(port));
	ask(stream, "/fork/0");
	finish(start("child", ask_in_child, stream));
	ask(stream, "/fork/2");
	CHECK(close(stream->fd));
	finish(server);
}

static void serve_stream(void *stream)
{
	serve(stream, BODY);
}

/* A server that has each connection served by a child made for it. */
static void serve_by_children(void *argument)
{
	int connections = *(int *)argument;
	while (connections-- > 0) {
		struct stream *stream = stream_new(tcp_accept(listener));
		pid_t child = start("worker", serve_stream, stream);
		CHECK(close(stream->fd));
		free(stream);
		finish(child);
	}
}

static void run_prefork(void)
{
	int connections = 2;
	char path[64];
	pid_t server = start("server", serve_by_children, &connections);
	for (int i = 0; i < connections; i++) {
		struct stream *stream = stream_new(tcp_connect(port));
		snprintf(path, sizeof(path), "/prefork/%d", i);
		ask(stream, path);
		CHECK(close(stream->fd));
		free(stream);
	}
	finish(server);
}

/* Sends a descriptor over a Unix socket (unix(7), SCM_RIGHTS). */
static void pass_descriptor(int channel, int fd)
{
	char byte = 0;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { &byte, 1 };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = control.bytes,
				  .msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(int));
	REQUIRE(CHECK(sendmsg(channel, &message, 0)) == 1);
}

static int receive_descriptor(int channel)
{
	char byte;
	int fd;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { &byte, 1 };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = control.bytes,
				  .msg_controllen = sizeof(control.bytes) };
	REQUIRE(CHECK(recvmsg(channel, &message, 0)) == 1);
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	REQUIRE(header && header->cmsg_type == SCM_RIGHTS);
	memcpy(&fd, CMSG_DATA(header), sizeof(int));
	return fd;
}

static void serve_passed(void *channel)
{
	struct stream *stream = stream_new(receive_descriptor(*(int *)channel));
	serve(stream, BODY);
}

/* A server that accepts, and passes the connection to a worker that it made before. */
static void serve_by_worker(void *argument)
{
	int channel[2];
	(void)argument;
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, channel));
	pid_t worker = start("worker", serve_passed, &channel[1]);
	int fd = tcp_accept(listener);
	pass_descriptor(channel[0], fd);
	CHECK(close(fd));
	finish(worker);
}

static void run_pass(void)
{
	pid_t server = start("server", serve_by_worker, NULL);
	struct stream *stream = stream_new(tcp_connect(port));
	ask(stream, "/pass/0");
	ask(stream, "/pass/1");
	CHECK(close(stream->fd));
	finish(server);
}

enum { WAITING = 100 };

/* A server that has each connection served by a child of its own, all of them at once. */
static void serve_side_by_side(void *argument)
{
	pid_t children[WAITING];
	(void)argument;
	for (int i = 0; i < WAITING; i++) {
		struct stream *stream = stream_new(tcp_accept(listener));
		children[i] = start("worker", serve_stream, stream);
		CHECK(close(stream->fd));
		free(stream);
	}
	for (int i = 0; i < WAITING; i++)
		finish(children[i]);
}

/* Many processes that wait in a call while a few exchange. */
static void run_waiting(void)
{
	struct stream *streams[WAITING];
	char path[64];
	pid_t server = start("server", serve_side_by_side, NULL);
	for (int i = 0; i < WAITING; i++)
		streams[i] = stream_new(tcp_connect(port));
	/* The last one answers only once all the others wait, or are about to. */
	for (int i = WAITING - 1; i >= 0; i--) {
		snprintf(path, sizeof(path), "/waiting/%d", i);
		ask(streams[i], path);
	}
	for (int i = 0; i < WAITING; i++)
		CHECK(close(streams[i]->fd));
	finish(server);
}

enum { THREADED_REQUESTS = 50 };

static void *write_requests(void *argument)
{
	char path[64];
	for (int i = 0; i < THREADED_REQUESTS; i++) {
		snprintf(path, sizeof(path), "/threads/%d", i);
		put_request(argument, path, 0);
		usleep(200);
	}
	return NULL;
}

static void *read_responses(void *argument)
{
	char path[64];
	for (int i = 0; i < THREADED_REQUESTS; i++) {
		snprintf(path, sizeof(path), "/threads/%d", i);
		get_response(argument, path);
	}
	return NULL;
}

/* A client with one thread that writes and one that reads, at the same time. */
static void run_threads(void)
{
	int connections = 1;
	pthread_t writer, reader;
	pid_t server = start("server", serve_in_turn, &connections);
	struct stream *stream = stream_new(tcp_connect(port));
	REQUIRE(pthread_create(&writer, NULL, write_requests, stream) == 0);
	REQUIRE(pthread_create(&reader, NULL, read_responses, stream) == 0);
	REQUIRE(pthread_join(writer, NULL) == 0);
	REQUIRE(pthread_join(reader, NULL) == 0);
	CHECK(close(stream->fd));
	finish(server);
}

enum { SMALL = 32 << 10, BIG = 256 << 10 };

static int answered[2];

/* Answers the first request, and reads the second one only once that was read. */
static void serve_in_steps(void *argument)
{
	char path[256];
	(void)argument;
	struct stream *stream = stream_new(tcp_accept(listener));
	REQUIRE(get_request(stream, path));
	put_response(stream, path, BODY);
	REQUIRE(CHECK(read(answered[0], path, 1)) == 1);
	REQUIRE(get_request(stream, path));
	put_response(stream, path, BODY);
	CHECK(close(stream->fd));
	free(stream);
}

/* Keeps what is put, to be sent later. */
static char *kept;
static size_t kept_length;

static ssize_t put_later(int fd, const char *bytes, size_t length)
{
	(void)fd;
	memcpy(kept + kept_length, bytes, length);
	kept_length += length;
	return length;
}

static void *send_kept(void *stream)
{
	REQUIRE(CHECK(send(((struct stream *)stream)->fd, kept, kept_length, 0)) == (ssize_t)kept_length);
	return NULL;
}

/* One call sends two requests, and the answer to the first is read before that call returns: the
 * second one is too big for the buffers. */
static void run_early(void)
{
	int small = SMALL;
	pthread_t sender;
	CHECK(pipe(answered));
	CHECK(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)));
	pid_t server = start("server", serve_in_steps, NULL);
	struct stream *stream = stream_new(tcp_connect(port));
	CHECK(setsockopt(stream->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)));
	kept = malloc(BIG + 1024);
	REQUIRE(kept);
	stream->put = put_later;
	put_request(stream, "/early/0", 0);
	put_request(stream, "/early/1", BIG);
	REQUIRE(pthread_create(&sender, NULL, send_kept, stream) == 0);
	get_response(stream, "/early/0");
	REQUIRE(pthread_tryjoin_np(sender, NULL) == EBUSY);
	CHECK(write(answered[1], "", 1));
	get_response(stream, "/early/1");
	REQUIRE(pthread_join(sender, NULL) == 0);
	CHECK(close(stream->fd));
	free(kept);
	finish(server);
}

int main(int count, char **values)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} scenarios[] = {
		{ "reuse", run_reuse },	    { "dup", run_dup },	  { "fork", run_fork },
		{ "prefork", run_prefork }, { "pass", run_pass }, { "threads", run_threads },
		{ "waiting", run_waiting }, { "early", run_early },
	};
	if (count != 3)
		return 2;
	port = atoi(values[2]);
	listener = tcp_listen(port);
	announce("client");
	for (size_t i = 0; i < sizeof(scenarios) / sizeof(*scenarios); i++)
		if (!strcmp(values[1], scenarios[i].name)) {
			scenarios[i].run();
			return 0;
		}
	return 2;
}
