// A server and a client of HTTPS (HTTP without -tls), with net/http, for any Go from 1.15 on.
//
//	peer server [-tls] [-h2] PORT CERT KEY   GET /bytes/N answers N bytes; POST /count, how many came
//	peer client [-tls] [-h2] [-late] PORT TIMES
//	                                         asks for the same things, TIMES times over one connection,
//	                                         and at the end gets and posts as many bytes as BIG says;
//	                                         with -late, some of what it writes is answered before that returns
//	peer get [-tls] [-h2] PORT N             gets N bytes once, and says so
//	peer fresh [-tls] PORT TIMES             gets 0 bytes, 1 byte, …, each over a connection of its own
//	peer deep -tls PORT TIMES                gets 0 bytes, 1 byte, …, from ever further down new stacks
//
// A client first says "ready", and starts when it is told to on standard input. With OLDER in its
// environment, its connection is used once before.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"io/ioutil"
	"math/rand"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func answer(response http.ResponseWriter, request *http.Request) {
	received, err := io.Copy(ioutil.Discard, request.Body)
	if err != nil {
		panic(err)
	}
	size, err := strconv.Atoi(strings.TrimPrefix(request.URL.Path, "/bytes/"))
	body := bytes.Repeat([]byte("x"), size)
	switch {
	case request.URL.Path == "/count":
		body = []byte(fmt.Sprintf("%d\n", received))
	case err != nil:
		http.NotFound(response, request)
		return
	}
	response.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if _, err := response.Write(body); err != nil {
		panic(err)
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type client struct {
	http.Client
	base string
}

// Asks for something, and checks how much comes.
func (client *client) ask(method, path string, sent, expected int) {
	var body io.Reader
	if sent > 0 {
		body = bytes.NewReader(bytes.Repeat([]byte("y"), sent))
	}
	request, err := http.NewRequest(method, client.base+path, body)
	check(err)
	response, err := client.Do(request)
	check(err)
	got, err := io.Copy(ioutil.Discard, response.Body)
	check(err)
	response.Body.Close()
	if response.StatusCode != 200 || got != int64(expected) {
		check(fmt.Errorf("%s: %d, %d bytes", path, response.StatusCode, got))
	}
}

// Writes from so many calls further down.
//
//go:noinline
func below(levels int, conn net.Conn, bytes []byte) error {
	if levels > 0 {
		err := below(levels-1, conn, bytes)
		return err
	}
	_, err := conn.Write(bytes)
	return err
}

// A new goroutine has a small stack, which grows in the function for which there is no more room.
func deep(port string, times int) {
	conn, err := tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{InsecureSkipVerify: true})
	check(err)
	from, to := io.Pipe()
	go io.Copy(to, conn)
	responses := bufio.NewReader(from)
	for size := 0; size < times; size++ {
		request := fmt.Sprintf("GET /bytes/%d HTTP/1.1\r\nHost: localhost\r\n\r\n", size)
		done := make(chan error)
		go func() { done <- below(size, conn, []byte(request)) }()
		check(<-done)
		response, err := http.ReadResponse(responses, nil)
		check(err)
		got, err := io.Copy(ioutil.Discard, response.Body)
		check(err)
		if got != int64(size) {
			check(fmt.Errorf("%d bytes of %d", got, size))
		}
	}
}

// Each connection is used once, so that what goes over it is the first.
func (client *client) fresh(number int) {
	client.Transport.(*http.Transport).DisableKeepAlives = true
	for size := 0; size < number; size++ {
		client.ask("GET", fmt.Sprintf("/bytes/%d", size), 0, size)
	}
}

// A connection that every now and then takes its time to return from what it has written.
type late struct{ net.Conn }

func (conn late) Write(bytes []byte) (int, error) {
	written, err := conn.Conn.Write(bytes)
	if rand.Intn(2) == 0 {
		time.Sleep(2 * time.Millisecond)
	}
	return written, err
}

func dialLate(context context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(context, network, address)
	return late{conn}, err
}

func main() {
	arguments := os.Args[1:]
	encrypted, http2, late := false, false, false
	for len(arguments) > 1 && strings.HasPrefix(arguments[1], "-") {
		encrypted = encrypted || arguments[1] == "-tls"
		http2 = http2 || arguments[1] == "-h2"
		late = late || arguments[1] == "-late"
		arguments = append(arguments[:1], arguments[2:]...)
	}
	port := arguments[1]
	if arguments[0] == "server" {
		server := http.Server{Addr: "127.0.0.1:" + port, Handler: http.HandlerFunc(answer)}
		if !http2 {
			server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
		}
		if encrypted {
			check(server.ListenAndServeTLS(arguments[2], arguments[3]))
		}
		check(server.ListenAndServe())
	}
	client := client{base: "http://127.0.0.1:" + port}
	if encrypted {
		client.base = "https://127.0.0.1:" + port
	}
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		ForceAttemptHTTP2: http2,
	}
	if late {
		transport.DialContext = dialLate
	}
	client.Transport = transport
	number, err := strconv.Atoi(arguments[2])
	check(err)
	if os.Getenv("OLDER") != "" {
		client.ask("GET", "/bytes/1000", 0, 1000)
	}
	fmt.Println("ready")
	input := bufio.NewReader(os.Stdin)
	input.ReadString('\n')
	if arguments[0] == "deep" {
		deep(port, number)
	} else if arguments[0] == "fresh" {
		client.fresh(number)
	} else if arguments[0] == "get" {
		client.ask("GET", fmt.Sprintf("/bytes/%d", number), 0, number)
	} else {
		for ; number > 0; number-- {
			client.ask("GET", "/bytes/1000", 0, 1000)
			client.ask("POST", "/count", 100000, 7)
			client.ask("GET", "/bytes/50000", 0, 50000)
		}
		if big := os.Getenv("BIG"); big != "" {
			size, err := strconv.Atoi(big)
			check(err)
			client.ask("GET", "/bytes/"+big, 0, size)
			client.ask("POST", "/count", size, len(big)+1)
		}
	}
	fmt.Println("done")
	// The connection stays open until it is told to go.
	input.ReadString('\n')
}
