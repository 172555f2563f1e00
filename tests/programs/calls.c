/* Makes many system calls of one kind, and prints how many nanoseconds one took.
 *
 *   calls getppid           one that does nothing
 *   calls pipe              a byte through a pipe: a write and a read
 *   calls exchange [N]      N requests of 120 bytes and answers of 240 and 1024 bytes over TCP,
 *                           from one end to the other of a connection to itself
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const char request[] =
	"GET /file HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: calls/1.0\r\nAccept: */*\r\n"
	"X-Padding: 0123456789012345678901\r\n\r\n";
static const char head[] =
	"HTTP/1.1 200 OK\r\nServer: calls/1.0\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
	"Content-Type: application/octet-stream\r\nContent-Length: 1024\r\n"
	"Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: keep-alive\r\n"
	"ETag: \"0-400\"\r\nAccept-Ranges: bytes\r\n\r\n";

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static void must(int condition, const char *what)
{
	if (!condition) {
		perror(what);
		exit(1);
	}
}

static void getppids(long count)
{
	while (count--)
		syscall(SYS_getppid);
}

static void pipes(long count)
{
	char byte = 0;
	int ends[2];

	must(pipe(ends) == 0, "pipe");
	while (count--) {
		must(write(ends[1], &byte, 1) == 1, "write");
		must(read(ends[0], &byte, 1) == 1, "read");
	}
}

static void receive(int socket, size_t length)
{
	char buffer[4096];

	while (length) {
		ssize_t got = read(socket, buffer, length);

		must(got > 0, "read");
		length -= got;
	}
}

/* Both ends in one thread: on loopback what is written is there to be read at once, so nothing waits
 * and nothing is scheduled, and the same is done each time.
 */
static void exchanges(long count)
{
	static char body[1024];
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	int client = socket(AF_INET, SOCK_STREAM, 0);
	int server, on = 1;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	must(bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0, "bind");
	must(listen(listener, 1) == 0, "listen");
	must(getsockname(listener, (struct sockaddr *)&address, &length) == 0, "getsockname");
	must(connect(client, (struct sockaddr *)&address, sizeof(address)) == 0, "connect");
	server = accept(listener, NULL, NULL);
	must(server >= 0, "accept");
	/* Else the body waits for the head to be acknowledged, which takes its time. */
	must(setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0, "setsockopt");
	while (count--) {
		must(write(client, request, sizeof(request) - 1) == sizeof(request) - 1, "write");
		receive(server, sizeof(request) - 1);
		must(write(server, head, sizeof(head) - 1) == sizeof(head) - 1, "write");
		must(write(server, body, sizeof(body)) == sizeof(body), "write");
		receive(client, sizeof(head) - 1 + sizeof(body));
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	long count = argc > 2 ? atol(argv[2]) : 1000000;
	double start = now();

	if (!strcmp(what, "getppid"))
		getppids(count);
	else if (!strcmp(what, "pipe"))
		pipes(count);
	else if (!strcmp(what, "exchange"))
		exchanges(count);
	else
		return fprintf(stderr, "usage: calls getppid|pipe|exchange [COUNT]\n"), 2;
	printf("%.1f\n", (now() - start) / count);
	return 0;
}
