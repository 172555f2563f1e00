/* Processes that end in the middle of an exchange.
 *
 * leave server|body|client|killed PORT
 *   server: the server ends without an answer.
 *   body:   the server ends after 100 of 1,000 bytes of its answer's body.
 *   client: the client ends without waiting for the answer.
 *   killed: the client is killed after half a request's head. */
#include "peer.h"

static int port, listener;

static void leave_unanswered(void *argument)
{
	char path[256];
	(void)argument;
	struct stream *stream = stream_new(tcp_accept(listener));
	REQUIRE(get_request(stream, path));
	_exit(0);
}

static void leave_in_body(void *argument)
{
	char path[256], bytes[2048];
	(void)argument;
	struct stream *stream = stream_new(tcp_accept(listener));
	REQUIRE(get_request(stream, path));
	size_t length = response_head(bytes, sizeof(bytes), path, 1000);
	for (size_t index = 0; index < 100; index++)
		bytes[length++] = body_byte(2, index);
	put_all(stream, bytes, length);
	_exit(0);
}

/* Answers what comes, and does not mind when it comes to an end. */
static void serve_the_rude(void *argument)
{
	char bytes[4096];
	int fd = tcp_accept(listener);
	(void)argument;
	signal(SIGPIPE, SIG_IGN);
	ssize_t got = CHECK(read(fd, bytes, sizeof(bytes) - 1));
	bytes[got] = 0;
	if (strstr(bytes, "\r\n\r\n")) {
		size_t length = response_head(bytes, sizeof(bytes), "/leave", 0);
		CHECK(write(fd, bytes, length));
	}
	while (read(fd, bytes, sizeof(bytes)) > 0)
		;
}

static void ask_and_leave(void *argument)
{
	(void)argument;
	put_request(stream_new(tcp_connect(port)), "/leave", 0);
	_exit(0);
}

static void ask_half_and_die(void *argument)
{
	static const char half[] = "GET /leave HTTP/1.1\r\nHost: te";
	(void)argument;
	put_all(stream_new(tcp_connect(port)), half, sizeof(half) - 1);
	raise(SIGKILL);
}

/* A client whose server leaves: reads to the end of the stream. */
static void ask_to_the_end(void)
{
	struct stream *stream = stream_new(tcp_connect(port));
	announce("client");
	put_request(stream, "/leave", 0);
	while (stream_fill(stream))
		;
	CHECK(close(stream->fd));
}

int main(int count, char **values)
{
	if (count != 3)
		return 2;
	port = atoi(values[2]);
	listener = tcp_listen(port);
	if (!strcmp(values[1], "server") || !strcmp(values[1], "body")) {
		bool body = !strcmp(values[1], "body");
		pid_t server = start("server", body ? leave_in_body : leave_unanswered, NULL);
		ask_to_the_end();
		finish(server);
	} else {
		bool killed = !strcmp(values[1], "killed");
		pid_t server = start("server", serve_the_rude, NULL);
		pid_t client = start("client", killed ? ask_half_and_die : ask_and_leave, NULL);
		int status;
		CHECK(waitpid(client, &status, 0));
		REQUIRE(killed ? WIFSIGNALED(status) : WIFEXITED(status));
		finish(server);
	}
	return 0;
}
