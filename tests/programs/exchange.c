/* Many requests over many connections.
 *
 * exchange [-p PORT] [-c CONNECTIONS] [-n REQUESTS] [-d DEPTH] [-b BODY] [-f inet|inet6|unix]
 *          [-u PATH] [-w]
 *
 * In each round the client writes DEPTH pipelined requests to every connection, and only then reads
 * the answers, so that connections are interleaved. REQUESTS is a number of rounds. With -w, the
 * connections are opened and used for one request each, and then the program waits for a line. */
#include "peer.h"
#include <sys/epoll.h>
#include <sys/resource.h>

static int port, connections = 1, requests = 1, depth = 1;
static size_t body = 100;
static int family = AF_INET;
static const char *unix_path = "";
static bool waits;

union address {
	struct sockaddr any;
	struct sockaddr_in inet;
	struct sockaddr_in6 inet6;
	struct sockaddr_un local;
};

/* The server's address; a path that starts with @ is in the abstract namespace. */
static socklen_t server_address(union address *address)
{
	memset(address, 0, sizeof(*address));
	switch (family) {
	case AF_INET:
		address->inet = loopback(port);
		return sizeof(address->inet);
	case AF_INET6:
		address->inet6.sin6_family = AF_INET6;
		address->inet6.sin6_port = htons(port);
		address->inet6.sin6_addr = in6addr_loopback;
		return sizeof(address->inet6);
	default:
		address->local.sun_family = AF_UNIX;
		memcpy(address->local.sun_path, unix_path, strlen(unix_path));
		if (unix_path[0] == '@')
			address->local.sun_path[0] = 0;
		return offsetof(struct sockaddr_un, sun_path) + strlen(unix_path);
	}
}

static int open_listener(void)
{
	union address address;
	socklen_t length = server_address(&address);
	int one = 1, fd = CHECK(socket(family, SOCK_STREAM, 0));
	CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	CHECK(bind(fd, &address.any, length));
	CHECK(listen(fd, 4096));
	return fd;
}

static int open_connection(void)
{
	union address address;
	socklen_t length = server_address(&address);
	int fd = CHECK(socket(family, SOCK_STREAM, 0));
	CHECK(connect(fd, &address.any, length));
	return fd;
}

/* Small requests alone are served here, so that 5,000 connections need little memory. */
struct server_connection {
	int fd;
	size_t length;
	char bytes[8 << 10];
};

/* Answers every request that has been read in full. */
static void answer(struct server_connection *connection)
{
	char *rest = connection->bytes, *end, path[256];
	char *response = malloc(body + 512);
	REQUIRE(response);
	while ((end = strstr(rest, "\r\n\r\n"))) {
		REQUIRE(sscanf(rest, "GET %255s", path) == 1);
		size_t length = response_head(response, 512, path, body);
		for (size_t index = 0; index < body; index++)
			response[length++] = body_byte(2, index);
		for (size_t sent = 0; sent < length;)
			sent += CHECK(write(connection->fd, response + sent, length - sent));
		rest = end + 4;
	}
	connection->length -= rest - connection->bytes;
	memmove(connection->bytes, rest, connection->length + 1);
	free(response);
}

static void run_server(void *argument)
{
	int listener = *(int *)argument, poll = CHECK(epoll_create1(0));
	struct epoll_event event = { .events = EPOLLIN };
	CHECK(epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event));
	for (int closed = 0; closed < connections;) {
		CHECK(epoll_wait(poll, &event, 1, -1));
		struct server_connection *connection = event.data.ptr;
		if (!connection) {
			connection = calloc(1, sizeof(*connection));
			REQUIRE(connection);
			connection->fd = tcp_accept(listener);
			event = (struct epoll_event){ .events = EPOLLIN, .data.ptr = connection };
			CHECK(epoll_ctl(poll, EPOLL_CTL_ADD, connection->fd, &event));
			continue;
		}
		size_t room = sizeof(connection->bytes) - 1 - connection->length;
		ssize_t got =
			CHECK(read(connection->fd, connection->bytes + connection->length, room));
		if (got == 0) {
			CHECK(close(connection->fd));
			free(connection);
			closed++;
			continue;
		}
		connection->length += got;
		connection->bytes[connection->length] = 0;
		answer(connection);
	}
}

static void run_round(struct stream **streams, int round, int pipelined)
{
	char path[256], *text = malloc(pipelined * 320);
	REQUIRE(text);
	for (int connection = 0; connection < connections; connection++) {
		size_t length = 0;
		for (int i = 0; i < pipelined; i++)
			length += sprintf(text + length, "GET /c%d/r%d/%d HTTP/1.1\r\nHost: test\r\n\r\n",
					  connection, round, i);
		put_all(streams[connection], text, length);
	}
	for (int connection = 0; connection < connections; connection++)
		for (int i = 0; i < pipelined; i++) {
			snprintf(path, sizeof(path), "/c%d/r%d/%d", connection, round, i);
			get_response(streams[connection], path);
		}
	free(text);
}

static void read_options(int count, char **values)
{
	for (int option; (option = getopt(count, values, "p:c:n:d:b:f:u:w")) != -1;)
		switch (option) {
		case 'p': port = atoi(optarg); break;
		case 'c': connections = atoi(optarg); break;
		case 'n': requests = atoi(optarg); break;
		case 'd': depth = atoi(optarg); break;
		case 'b': body = atol(optarg); break;
		case 'f':
			family = !strcmp(optarg, "unix")    ? AF_UNIX
				 : !strcmp(optarg, "inet6") ? AF_INET6
							    : AF_INET;
			break;
		case 'u': unix_path = optarg; break;
		case 'w': waits = true; break;
		default: exit(2);
		}
}

int main(int count, char **values)
{
	read_options(count, values);
	struct rlimit files;
	CHECK(getrlimit(RLIMIT_NOFILE, &files));
	files.rlim_cur = files.rlim_max;
	CHECK(setrlimit(RLIMIT_NOFILE, &files));

	announce("client");
	int listener = open_listener();
	pid_t server = start("server", run_server, &listener);
	CHECK(close(listener));

	struct stream **streams = calloc(connections, sizeof(*streams));
	REQUIRE(streams);
	for (int connection = 0; connection < connections; connection++)
		streams[connection] = stream_new(open_connection());
	if (waits) {
		run_round(streams, 0, 1);
		printf("waiting\n");
		fflush(stdout);
		wait_for_go();
	}
	for (int round = waits; round < requests + waits; round++)
		run_round(streams, round, depth);
	for (int connection = 0; connection < connections; connection++)
		CHECK(close(streams[connection]->fd));
	finish(server);
	return 0;
}
