// A server and a client of HTTPS, for any library with OpenSSL's functions: 1.1.0 and later, BoringSSL.
//
//   peer server PORT CERT KEY    GET /bytes/N answers N bytes; POST /count, how many came
//   peer client PORT TIMES       asks for the same things, TIMES times over one connection, and at the end
//                                gets and posts as many bytes as BIG says
//   peer get PORT N              gets N bytes once
//
// A client first says "ready", and starts when it is told to on standard input. Built with WITH_EX, bytes
// are read and written by SSL_read_ex and SSL_write_ex; with WITH_PEEK, all that is read is peeked at before.
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static char buffer[1 << 16];

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static void write_all(SSL *ssl, const char *bytes, size_t length) {
    while (length > 0) {
        size_t part = length > 40000 ? 40000 : length;
#ifdef WITH_EX
        size_t done;
        if (SSL_write_ex(ssl, bytes, part, &done) != 1) fail("SSL_write_ex");
#else
        int done = SSL_write(ssl, bytes, (int)part);
        if (done <= 0) fail("SSL_write");
#endif
        bytes += done;
        length -= (size_t)done;
    }
}

// Returns 0 at the end of the stream.
static size_t read_some(SSL *ssl, char *bytes, size_t length) {
#ifdef WITH_EX
    size_t done;
    return SSL_read_ex(ssl, bytes, length, &done) == 1 ? done : 0;
#else
#ifdef WITH_PEEK
    int peeked = SSL_peek(ssl, bytes, (int)length);
    if (peeked > 0) length = (size_t)peeked;
#endif
    int done = SSL_read(ssl, bytes, (int)length);
    return done > 0 ? (size_t)done : 0;
#endif
}

// Reads a message: its head, of at most this size, and its body, of which the length is returned.
// Nothing that follows is read, because nobody here sends ahead.
static long read_message(SSL *ssl, char *head, size_t size) {
    size_t have = 0;
    char *end = NULL;
    while (!end) {
        if (have + 1 >= size) fail("a long head");
        size_t got = read_some(ssl, head + have, size - have - 1);
        if (got == 0) return -1;
        have += got;
        head[have] = 0;
        end = strstr(head, "\r\n\r\n");
    }
    char *header = strcasestr(head, "\r\ncontent-length:");
    long length = header && header < end ? atol(header + 17) : 0;
    long left = length - (long)(head + have - (end + 4));
    while (left > 0) {
        size_t want = left > (long)sizeof buffer ? sizeof buffer : (size_t)left;
        size_t got = read_some(ssl, buffer, want);
        if (got == 0) fail("a body is cut short");
        left -= (long)got;
    }
    return length;
}

static void serve(SSL *ssl) {
    static char head[1 << 14];
    static char response[(50 << 20) + 200];
    for (;;) {
        long received = read_message(ssl, head, sizeof head);
        if (received < 0) return;
        long size = 0;
        char text[32] = "";
        if (sscanf(head, "GET /bytes/%ld ", &size) == 1) {
            if (size < 0 || size > 50 << 20) fail("too much is asked for");
        } else {
            size = snprintf(text, sizeof text, "%ld\n", received);
        }
        int begin = sprintf(response, "HTTP/1.1 200 OK\r\nContent-Length: %ld\r\n\r\n", size);
        if (text[0])
            memcpy(response + begin, text, (size_t)size);
        else
            memset(response + begin, 'x', (size_t)size);
        write_all(ssl, response, (size_t)(begin + size));
    }
}

static void ask(SSL *ssl, const char *method, const char *path, long sent, long expected) {
    static char head[1 << 14];
    static char request[(50 << 20) + 200];
    int begin = sprintf(request, "%s %s HTTP/1.1\r\nHost: localhost\r\n", method, path);
    if (sent > 0) begin += sprintf(request + begin, "Content-Length: %ld\r\n", sent);
    begin += sprintf(request + begin, "\r\n");
    memset(request + begin, 'y', (size_t)sent);
    write_all(ssl, request, (size_t)(begin + sent));
    long got = read_message(ssl, head, sizeof head);
    if (got != expected || strncmp(head, "HTTP/1.1 200 ", 13) != 0) fail(head);
}

static int listen_on(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 128))
        fail("cannot listen");
    return listener;
}

static int connect_to(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(connection, (struct sockaddr *)&address, sizeof address)) fail("cannot connect");
    return connection;
}

static void wait_to_be_told(void) {
    char line[100];
    if (!fgets(line, sizeof line, stdin)) line[0] = 0;
}

int main(int count, char **arguments) {
    if (count < 4) return 2;
    int port = atoi(arguments[2]);
    if (!strcmp(arguments[1], "server")) {
        SSL_CTX *context = SSL_CTX_new(TLS_server_method());
        if (SSL_CTX_use_certificate_chain_file(context, arguments[3]) != 1 ||
            SSL_CTX_use_PrivateKey_file(context, arguments[4], SSL_FILETYPE_PEM) != 1)
            fail("no certificate");
        int listener = listen_on(port);
        for (;;) {
            int connection = accept(listener, NULL, NULL);
            SSL *ssl = SSL_new(context);
            SSL_set_fd(ssl, connection);
            if (SSL_accept(ssl) == 1) {
                serve(ssl);
                SSL_shutdown(ssl);
            }
            ERR_clear_error();
            SSL_free(ssl);
            close(connection);
        }
    }
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    puts("ready");
    fflush(stdout);
    wait_to_be_told();
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, connect_to(port));
    if (SSL_connect(ssl) != 1) fail("SSL_connect");
    long number = atol(arguments[3]);
    if (!strcmp(arguments[1], "get")) {
        char path[64];
        sprintf(path, "/bytes/%ld", number);
        ask(ssl, "GET", path, 0, number);
    } else {
        for (; number > 0; number--) {
            ask(ssl, "GET", "/bytes/1000", 0, 1000);
            ask(ssl, "POST", "/count", 100000, 7);
            ask(ssl, "GET", "/bytes/50000", 0, 50000);
        }
        const char *big = getenv("BIG");
        if (big) {
            char path[64];
            sprintf(path, "/bytes/%ld", atol(big));
            ask(ssl, "GET", path, 0, atol(big));
            ask(ssl, "POST", "/count", atol(big), (long)strlen(big) + 1);
        }
    }
    puts("done");
    fflush(stdout);
    // The connection stays open until it is told to go.
    wait_to_be_told();
    SSL_shutdown(ssl);
    SSL_free(ssl);
    return 0;
}
