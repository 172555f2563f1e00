/* What the traced programs share: sockets, and HTTP exchanges over them in blocking calls.
 *
 * Every program is its own client and its own server, as separate processes. It prints a line
 * "NAME VALUE..." for each fact that a test needs, pids and ports above all, and ends with status 0
 * only if every byte arrived as it was sent. */
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

static inline void die(const char *what)
{
	fprintf(stderr, "%d: %s: %s\n", getpid(), what, strerror(errno));
	exit(1);
}

/* The value of a call that must not fail. */
#define CHECK(call)                                                                                \
	({                                                                                         \
		__typeof__(call) value_ = (call);                                                  \
		if (value_ < 0)                                                                    \
			die(#call);                                                                \
		value_;                                                                            \
	})

/* Ends the program when a thing that must be true is not. */
#define REQUIRE(condition)                                                                         \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			errno = 0;                                                                 \
			die("not true: " #condition);                                              \
		}                                                                                  \
	} while (0)

/* ---- processes ---- */

/* Tells the pid of this process under a name. */
static inline void announce(const char *name)
{
	printf("%s %d\n", name, getpid());
	fflush(stdout);
}

/* Waits for the test to say that it is ready: one line on standard input. */
UNUSED static inline void wait_for_go(void)
{
	char line[16];
	REQUIRE(fgets(line, sizeof(line), stdin));
}

/* Runs a function in a child process, which ends with it. */
UNUSED static inline pid_t start(const char *name, void (*run)(void *), void *argument)
{
	fflush(stdout);
	pid_t child = CHECK(fork());
	if (child == 0) {
		announce(name);
		run(argument);
		fflush(stdout);
		_exit(0);
	}
	return child;
}

/* Waits for a child to end, which it must do without an error. */
UNUSED static inline void finish(pid_t child)
{
	int status;
	CHECK(waitpid(child, &status, 0));
	REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---- sockets ---- */

static inline struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
}

UNUSED static inline int tcp_listen(int port)
{
	struct sockaddr_in address = loopback(port);
	int one = 1, fd = CHECK(socket(AF_INET, SOCK_STREAM, 0));
	CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	CHECK(bind(fd, (struct sockaddr *)&address, sizeof(address)));
	CHECK(listen(fd, 128));
	return fd;
}

UNUSED static inline int tcp_connect(int port)
{
	struct sockaddr_in address = loopback(port);
	int fd = CHECK(socket(AF_INET, SOCK_STREAM, 0));
	CHECK(connect(fd, (struct sockaddr *)&address, sizeof(address)));
	return fd;
}

UNUSED static inline int tcp_accept(int listener)
{
	return CHECK(accept(listener, NULL, NULL));
}

/* Tells the port of this end of a connection. */
UNUSED static inline void announce_port(int fd)
{
	struct sockaddr_in address;
	socklen_t length = sizeof(address);
	CHECK(getsockname(fd, (struct sockaddr *)&address, &length));
	printf("port %d\n", ntohs(address.sin_port));
	fflush(stdout);
}

/* ---- HTTP ---- */

typedef ssize_t (*put_function)(int fd, const char *bytes, size_t length);
typedef ssize_t (*get_function)(int fd, char *bytes, size_t length);

UNUSED static ssize_t put_write(int fd, const char *bytes, size_t length)
{
	return write(fd, bytes, length);
}

UNUSED static ssize_t get_read(int fd, char *bytes, size_t length)
{
	return read(fd, bytes, length);
}

/* One end of a connection, the calls by which it transfers, and what it has read but not used. */
struct stream {
	int fd;
	put_function put;
	get_function get;
	size_t length;
	char bytes[64 << 10];
};

UNUSED static struct stream *stream_new(int fd)
{
	struct stream *stream = calloc(1, sizeof(*stream));
	REQUIRE(stream);
	stream->fd = fd;
	stream->put = put_write;
	stream->get = get_read;
	return stream;
}

UNUSED static void put_all(struct stream *stream, const char *bytes, size_t length)
{
	while (length > 0) {
		ssize_t sent = CHECK(stream->put(stream->fd, bytes, length));
		bytes += sent;
		length -= sent;
	}
}

/* Reads once more. False at the end of the stream. */
static inline bool stream_fill(struct stream *stream)
{
	size_t room = sizeof(stream->bytes) - 1 - stream->length;
	REQUIRE(room > 0);
	ssize_t got = CHECK(stream->get(stream->fd, stream->bytes + stream->length, room));
	stream->length += got;
	stream->bytes[stream->length] = 0;
	return got > 0;
}

static inline void stream_use(struct stream *stream, size_t length)
{
	memmove(stream->bytes, stream->bytes + length, stream->length - length + 1);
	stream->length -= length;
}

/* The bytes of body number `seed`, the same for whoever asks. */
static inline char body_byte(unsigned seed, size_t index)
{
	return 'a' + (seed + index * 7 + index / 251) % 26;
}

/* Writes a request; one with a body is a POST. The body starts with `index` of its pattern. */
UNUSED static void put_request(struct stream *stream, const char *path, size_t body)
{
	size_t room = body + 512;
	char *bytes = malloc(room);
	REQUIRE(bytes);
	size_t length = snprintf(bytes, room, "%s %s HTTP/1.1\r\nHost: test\r\n",
				 body ? "POST" : "GET", path);
	if (body)
		length += snprintf(bytes + length, room - length, "Content-Length: %zu\r\n", body);
	length += snprintf(bytes + length, room - length, "\r\n");
	for (size_t index = 0; index < body; index++)
		bytes[length++] = body_byte(1, index);
	put_all(stream, bytes, length);
	free(bytes);
}

/* Writes a response that names the path it answers in a header, so that pairs can be checked. */
UNUSED static size_t response_head(char *bytes, size_t room, const char *path, size_t body)
{
	return snprintf(bytes, room, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nX-Path: %s\r\n\r\n",
			body, path);
}

UNUSED static void put_response(struct stream *stream, const char *path, size_t body)
{
	size_t room = body + 512;
	char *bytes = malloc(room);
	REQUIRE(bytes);
	size_t length = response_head(bytes, room, path, body);
	for (size_t index = 0; index < body; index++)
		bytes[length++] = body_byte(2, index);
	put_all(stream, bytes, length);
	free(bytes);
}

/* Reads one message and checks the bytes of its body. False when there is none any more. */
UNUSED static bool get_message(struct stream *stream, unsigned seed, char *head, size_t room)
{
	char *end;
	while (!(end = strstr(stream->bytes, "\r\n\r\n")))
		if (!stream_fill(stream)) {
			REQUIRE(stream->length == 0);
			return false;
		}
	size_t length = end + 4 - stream->bytes;
	REQUIRE(length < room);
	memcpy(head, stream->bytes, length);
	head[length] = 0;
	stream_use(stream, length);

	const char *field = strstr(head, "Content-Length: ");
	size_t body = field ? strtoul(field + 16, NULL, 10) : 0;
	for (size_t index = 0; index < body;) {
		if (stream->length == 0)
			REQUIRE(stream_fill(stream));
		size_t here = stream->length < body - index ? stream->length : body - index;
		for (size_t i = 0; i < here; i++)
			REQUIRE(stream->bytes[i] == body_byte(seed, index + i));
		stream_use(stream, here);
		index += here;
	}
	return true;
}

/* Reads a request and stores its path. False when there is none any more. */
UNUSED static bool get_request(struct stream *stream, char path[256])
{
	char head[2048];
	if (!get_message(stream, 1, head, sizeof(head)))
		return false;
	REQUIRE(sscanf(head, "%*s %255s", path) == 1);
	return true;
}

/* Reads a response, which must be the one to `path`. */
UNUSED static void get_response(struct stream *stream, const char *path)
{
	char head[2048], answered[256];
	REQUIRE(get_message(stream, 2, head, sizeof(head)));
	const char *field = strstr(head, "X-Path: ");
	REQUIRE(field && sscanf(field, "X-Path: %255s", answered) == 1);
	REQUIRE(strcmp(path, answered) == 0);
}

/* Answers whatever is asked until there is nothing any more. */
UNUSED static void serve(struct stream *stream, size_t body)
{
	char path[256];
	while (get_request(stream, path))
		put_response(stream, path, body);
}

UNUSED static void ask(struct stream *stream, const char *path)
{
	put_request(stream, path, 0);
	get_response(stream, path);
}
