/* Datagrams, many in one call, to and from more than one peer.
 *
 * datagrams mmsg|timeout|named|connected PORT
 *   Two clients send 40 datagrams each, "CLIENT NUMBER" and filling; the server answers each with
 *   "re: " and the same. `mmsg`: by sendmmsg and recvmmsg; `timeout`: the same, but every recvmmsg
 *   ends by its timeout, after its first datagram; `named`: by sendto and recvfrom;
 *   `connected`: the clients by send and recv on connected sockets, the server by sendmsg and
 *   recvmsg. */
#include "peer.h"

enum { DATAGRAMS = 40, CLIENTS = 2, ROOM = 600 };

static int port, server_fd;
static const char *scenario;

static bool many(void)
{
	return !strcmp(scenario, "mmsg") || !strcmp(scenario, "timeout");
}

struct datagram {
	struct sockaddr_in peer;
	struct iovec iov;
	char bytes[ROOM];
};

/* What client number `client` sends as number `number`. */
static size_t compose(char *bytes, int client, int number)
{
	size_t length = sprintf(bytes, "client %d datagram %d ", client, number);
	for (int i = 0; i < number * 10; i++)
		bytes[length++] = body_byte(client, i);
	return length;
}

static struct msghdr header(struct datagram *datagram, bool named)
{
	struct msghdr message = { .msg_iov = &datagram->iov, .msg_iovlen = 1 };
	if (named) {
		message.msg_name = &datagram->peer;
		message.msg_namelen = sizeof(datagram->peer);
	}
	return message;
}

static void put_datagrams(int fd, struct datagram *datagrams, int count, bool named)
{
	struct mmsghdr messages[DATAGRAMS] = { 0 };
	if (many()) {
		for (int i = 0; i < count; i++)
			messages[i].msg_hdr = header(&datagrams[i], named);
		for (int sent = 0; sent < count;)
			sent += CHECK(sendmmsg(fd, messages + sent, count - sent, 0));
		return;
	}
	for (int i = 0; i < count; i++) {
		struct datagram *datagram = &datagrams[i];
		struct msghdr message = header(datagram, named);
		if (!strcmp(scenario, "named"))
			CHECK(sendto(fd, datagram->bytes, datagram->iov.iov_len, 0,
				     message.msg_name, message.msg_namelen));
		else if (named)
			CHECK(sendmsg(fd, &message, 0));
		else
			CHECK(send(fd, datagram->bytes, datagram->iov.iov_len, 0));
	}
}

/* Receives at least one datagram and at most `count`, each with its peer. */
static int get_datagrams(int fd, struct datagram *datagrams, int count, bool named)
{
	struct mmsghdr messages[DATAGRAMS] = { 0 };
	for (int i = 0; i < count; i++)
		datagrams[i].iov = (struct iovec){ datagrams[i].bytes, ROOM };
	if (many()) {
		struct timespec shortest = { .tv_nsec = 1 };
		struct timespec *timeout = strcmp(scenario, "timeout") ? NULL : &shortest;
		for (int i = 0; i < count; i++)
			messages[i].msg_hdr = header(&datagrams[i], named);
		int got = CHECK(recvmmsg(fd, messages, count, MSG_WAITFORONE, timeout));
		REQUIRE(!timeout || got == 1);
		for (int i = 0; i < got; i++)
			datagrams[i].iov.iov_len = messages[i].msg_len;
		return got;
	}
	struct msghdr message = header(datagrams, named);
	socklen_t size = sizeof(datagrams->peer);
	if (!strcmp(scenario, "named"))
		datagrams->iov.iov_len = CHECK(recvfrom(
			fd, datagrams->bytes, ROOM, 0, (struct sockaddr *)&datagrams->peer, &size));
	else if (named)
		datagrams->iov.iov_len = CHECK(recvmsg(fd, &message, 0));
	else
		datagrams->iov.iov_len = CHECK(recv(fd, datagrams->bytes, ROOM, 0));
	return 1;
}

static void run_server(void *argument)
{
	struct datagram *datagrams = calloc(DATAGRAMS, sizeof(*datagrams));
	(void)argument;
	REQUIRE(datagrams);
	for (int answered = 0; answered < CLIENTS * DATAGRAMS;) {
		int got = get_datagrams(server_fd, datagrams, DATAGRAMS, true);
		for (int i = 0; i < got; i++) {
			memmove(datagrams[i].bytes + 4, datagrams[i].bytes, datagrams[i].iov.iov_len);
			memcpy(datagrams[i].bytes, "re: ", 4);
			datagrams[i].iov.iov_len += 4;
		}
		put_datagrams(server_fd, datagrams, got, true);
		answered += got;
	}
}

static void run_client(void *argument)
{
	int client = *(int *)argument, fd = CHECK(socket(AF_INET, SOCK_DGRAM, 0));
	bool connected = !strcmp(scenario, "connected");
	struct datagram *datagrams = calloc(DATAGRAMS, sizeof(*datagrams));
	struct sockaddr_in any = loopback(0);
	REQUIRE(datagrams);
	CHECK(bind(fd, (struct sockaddr *)&any, sizeof(any)));
	if (connected) {
		struct sockaddr_in server = loopback(port);
		CHECK(connect(fd, (struct sockaddr *)&server, sizeof(server)));
	}
	announce_port(fd);
	for (int number = 0; number < DATAGRAMS; number++) {
		struct datagram *datagram = &datagrams[number];
		datagram->peer = loopback(port);
		datagram->iov = (struct iovec){ datagram->bytes,
						compose(datagram->bytes, client, number) };
	}
	put_datagrams(fd, datagrams, DATAGRAMS, !connected);
	for (int answered = 0; answered < DATAGRAMS;) {
		int got = get_datagrams(fd, datagrams, DATAGRAMS, !connected);
		for (int i = 0; i < got; i++) {
			char expected[ROOM] = "re: ";
			size_t length = 4 + compose(expected + 4, client, answered + i);
			REQUIRE(datagrams[i].iov.iov_len == length);
			REQUIRE(!memcmp(datagrams[i].bytes, expected, length));
		}
		answered += got;
	}
}

int main(int count, char **values)
{
	if (count != 3)
		return 2;
	scenario = values[1];
	port = atoi(values[2]);
	struct sockaddr_in address = loopback(port);
	server_fd = CHECK(socket(AF_INET, SOCK_DGRAM, 0));
	CHECK(bind(server_fd, (struct sockaddr *)&address, sizeof(address)));
	pid_t server = start("server", run_server, NULL);
	for (int client = 0; client < CLIENTS; client++)
		finish(start("client", run_client, &client));
	finish(server);
	return 0;
}
