"""A server and a client of HTTPS in Python.

peer.py server PORT CERT KEY     blocking, a thread a connection: SSL_read_ex and SSL_write_ex
peer.py aserver PORT CERT KEY    asyncio: memory BIOs
peer.py client|aclient|openssl PORT TIMES
                                 asks for the same things, TIMES times over one connection, and at the
                                 end gets and posts as many bytes as BIG says; with `openssl`, by pyOpenSSL
peer.py crowd PORT COUNT         as many connections on one thread, each of which asks for its own
                                 number of bytes, several times
peer.py threads PORT COUNT       one connection: one thread asks, for 0 bytes, 1 and so on, and does not
                                 wait for the answers, which another thread reads
peer.py fserver PORT CERT KEY    shakes hands, and leaves the connection to a child
peer.py fclient PORT TIMES       as client, but forks after half of it, and leaves the rest to the child

GET /bytes/N answers N bytes; POST /count, how many came. A client first says "ready", and starts when
it is told to on standard input. With OLDER in its environment, the connection of a `client` or an `aclient`
is used once before; with CONFINED, a client may make no system call that Linux 6.11 or a later one
brought.
"""

import asyncio
import ctypes
import http.client
import http.server
import os
import select
import socket
import socketserver
import ssl
import struct
import sys
import threading


def body_of(method, path, received):
    if path.startswith("/bytes/"):
        return b"x" * int(path.split("?")[0][7:])
    return b"%d\n" % received


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        received = len(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        body = body_of(self.command, self.path, received)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *arguments):
        pass


def server_context(arguments):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*arguments)
    return context


def client_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def server(port, *arguments):
    class Server(http.server.ThreadingHTTPServer):
        # Each connection shakes hands on a thread of its own.
        def finish_request(self, request, address):
            request = server_context(arguments).wrap_socket(request, server_side=True)
            self.RequestHandlerClass(request, address, self)

        def handle_error(self, request, address):
            pass

    Server(("127.0.0.1", port), Handler).serve_forever()


def fserver(port, *arguments):
    class Server(socketserver.ForkingMixIn, http.server.HTTPServer):
        def get_request(self):
            request, address = self.socket.accept()
            return server_context(arguments).wrap_socket(request, server_side=True), address

        def handle_error(self, request, address):
            pass

    Server(("127.0.0.1", port), Handler).serve_forever()


async def read_message(reader):
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
        return None, None
    lines = head.decode().split("\r\n")
    lengths = [line[15:] for line in lines if line.lower().startswith("content-length:")]
    return lines[0], await reader.readexactly(int(lengths[0]) if lengths else 0)


async def answer(reader, writer):
    while True:
        first, received = await read_message(reader)
        if first is None:
            writer.close()
            return
        method, path, _ = first.split()
        body = body_of(method, path, len(received))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()


async def aserver(port, *arguments):
    serving = await asyncio.start_server(
        answer, "127.0.0.1", port, ssl=server_context(arguments), backlog=1000
    )
    await serving.serve_forever()


def confine():
    """A seccomp filter: kills for the numbers from uretprobe's (335) to those that all
    architectures share (424)."""
    program = struct.pack(
        "HBBI" * 5,
        *(0x20, 0, 0, 0),  # the system call's number
        *(0x35, 0, 2, 335),  # less: allow
        *(0x35, 1, 0, 424),  # as much or more: allow
        *(0x06, 0, 0, 0x80000000),  # SECCOMP_RET_KILL_PROCESS
        *(0x06, 0, 0, 0x7FFF0000),  # SECCOMP_RET_ALLOW
    )
    program = ctypes.create_string_buffer(program)
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 5, ctypes.addressof(program)))
    prctl = ctypes.CDLL(None).prctl
    assert prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert prctl(22, 2, header, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def told():
    if os.environ.get("CONFINED"):
        confine()
    print("ready", flush=True)
    sys.stdin.readline()


def done():
    print("done", flush=True)
    # The connection stays open until it is told to go.
    sys.stdin.readline()


QUESTIONS = [("GET", "/bytes/1000", 0, 1000), ("POST", "/count", 100000, 7), ("GET", "/bytes/50000", 0, 50000)]
OLDER = QUESTIONS[:1] if os.environ.get("OLDER") else []


def all_questions(times):
    big = os.environ.get("BIG")
    at_the_end = [("GET", f"/bytes/{big}", 0, int(big)), ("POST", "/count", int(big), len(big) + 1)] if big else []
    return QUESTIONS * times + at_the_end


def client(port, times):
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=client_context())

    def ask_all(questions):
        for method, path, sent, expected in questions:
            connection.request(method, path, body=b"y" * sent if sent else None)
            response = connection.getresponse()
            assert (response.status, len(response.read())) == (200, expected)

    ask_all(OLDER)
    told()
    ask_all(all_questions(times))
    done()


def fclient(port, times):
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=client_context())

    def ask_all():
        for method, path, sent, expected in QUESTIONS * (times // 2):
            connection.request(method, path, body=b"y" * sent if sent else None)
            response = connection.getresponse()
            assert (response.status, len(response.read())) == (200, expected)

    told()
    ask_all()
    child = os.fork()
    if not child:
        ask_all()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    print("child", child)
    done()


def threads(port, count):
    plain = socket.create_connection(("127.0.0.1", port))
    connection = client_context().wrap_socket(plain)
    connection.setblocking(False)
    # One of them at a time may call OpenSSL with it.
    lock = threading.Lock()
    told()

    def when_ready(call, argument):
        while True:
            try:
                with lock:
                    return call(argument)
            except ssl.SSLWantReadError:
                select.select([connection], [], [])
            except ssl.SSLWantWriteError:
                select.select([], [connection], [])

    def write():
        for number in range(count):
            rest = f"GET /bytes/{number} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            while rest:
                rest = rest[when_ready(connection.send, rest) :]

    writer = threading.Thread(target=write)
    writer.start()
    got = b""
    for number in range(count):
        while b"\r\n\r\n" not in got or len(got.split(b"\r\n\r\n", 1)[1]) < number:
            more = when_ready(connection.recv, 65536)
            assert more
            got += more
        got = got.split(b"\r\n\r\n", 1)[1]
        assert got[:number] == b"x" * number
        got = got[number:]
    writer.join()
    done()


async def ask(reader, writer, method, path, sent, expected):
    length = b"Content-Length: %d\r\n" % sent if sent else b""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n".encode() + length + b"\r\n"
    writer.write(head + b"y" * sent)
    first, received = await read_message(reader)
    assert first == "HTTP/1.1 200 OK" and len(received) == expected, (first, len(received))


async def aclient(port, times):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_context())
    for question in OLDER:
        await ask(reader, writer, *question)
    told()
    for question in all_questions(times):
        await ask(reader, writer, *question)
    done()


async def crowd(port, count):
    told()
    together = [asyncio.open_connection("127.0.0.1", port, ssl=client_context()) for _ in range(count)]
    connections = await asyncio.gather(*together)
    for number, (_, writer) in enumerate(connections):
        print("port", number, writer.get_extra_info("sockname")[1])

    async def each(number, reader, writer):
        for round in range(3):
            await ask(reader, writer, "GET", f"/bytes/{number}?{round}", 0, number)

    await asyncio.gather(*(each(number, *pair) for number, pair in enumerate(connections)))
    done()


def openssl(port, times):
    from OpenSSL import SSL

    plain = socket.create_connection(("127.0.0.1", port))
    connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), plain)
    connection.set_connect_state()
    told()
    for method, path, sent, expected in all_questions(times):
        length = f"Content-Length: {sent}\r\n" if sent else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n".encode()
        connection.sendall(head + b"y" * sent)
        got = b""
        while b"\r\n\r\n" not in got:
            got += connection.recv(65536)
        head, body = got.split(b"\r\n\r\n", 1)
        body = bytearray(body)
        while len(body) < expected:
            body += connection.recv(65536)
        assert head.startswith(b"HTTP/1.1 200 ") and len(body) == expected
    done()


if __name__ == "__main__":
    what = globals()[sys.argv[1]]
    result = what(int(sys.argv[2]), *(int(word) if word.isdigit() else word for word in sys.argv[3:]))
    if asyncio.iscoroutine(result):
        asyncio.run(result)
