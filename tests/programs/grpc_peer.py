"""A server and a client of gRPC, without generated code: messages are bytes.

grpc_peer.py server [CERT KEY]   prints "port N" and serves until its input ends
grpc_peer.py client PORT [CERT]  makes calls of all kinds, and prints what it got

With a certificate, over TLS.
"""
import sys
import time
from concurrent import futures

import grpc

NAME = "test.Echo"


def unary(request, context):
    if request == b"fail":
        context.set_trailing_metadata((("x-reason", "because"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "no caf\u00e9 100%")
    context.send_initial_metadata((("x-initial", "yes"),))
    context.set_trailing_metadata((("x-trailing", "yes"),))
    return request * 2


def client_stream(requests, context):
    return b"%d" % sum(len(request) for request in requests)


def server_stream(request, context):
    for number in range(int(request)):
        yield b"x" * number


def both(requests, context):
    for request in requests:
        yield request


def forever(request, context):
    yield b"first"
    while context.is_active():
        time.sleep(0.01)


def server(files):
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
        "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
        "Both": grpc.stream_stream_rpc_method_handler(both),
        "Forever": grpc.unary_stream_rpc_method_handler(forever),
    }
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(NAME, handlers),))
    if files:
        cert, key = (open(file, "rb").read() for file in files)
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, cert)]))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print("port", port, flush=True)
    sys.stdin.read()
    server.stop(0)


def channel_to(port, files, options=()):
    if not files:
        return grpc.insecure_channel("127.0.0.1:" + port, options)
    credentials = grpc.ssl_channel_credentials(open(files[0], "rb").read())
    return grpc.secure_channel("127.0.0.1:" + port, credentials, options)


def client(port, files):
    with channel_to(port, files) as channel:
        print("unary", len(channel.unary_unary("/test.Echo/Unary")(
            b"hello", timeout=30, metadata=(("x-metadata", "one"), ("x-binary-bin", b"\x00\xff")))))
        print("client_stream", int(channel.stream_unary("/test.Echo/ClientStream")(
            iter([b"x" * size for size in range(10)]))))
        print("server_stream", sum(1 for _ in channel.unary_stream("/test.Echo/ServerStream")(b"20")))
        print("both", sum(len(answer) for answer in channel.stream_stream("/test.Echo/Both")(
            iter([b"y" * 100] * 5))))
        print("compressed", len(channel.unary_unary("/test.Echo/Unary")(
            b"w" * 1000, compression=grpc.Compression.Gzip)))
        for path, request in (("/test.Echo/Unary", b"fail"), ("/test.Echo/Absent", b"")):
            try:
                channel.unary_unary(path)(request)
            except grpc.RpcError as error:
                print("error", error.code().value[0])
        call = channel.unary_stream("/test.Echo/Forever")(b"")
        print("forever", len(next(call)))
        call.cancel()
    # Over a connection of its own.
    options = (("grpc.use_local_subchannel_pool", 1),)
    with channel_to(port, files, options) as channel:
        print("large", len(channel.unary_unary("/test.Echo/Unary")(b"z" * 20_000)))


if sys.argv[1] == "server":
    server(sys.argv[2:])
else:
    client(sys.argv[2], sys.argv[3:])
