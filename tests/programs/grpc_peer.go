// A server and a client of gRPC in Go, without generated code: messages are bytes. They say what
// grpc_peer.py says.
//
//	grpc_peer server           prints "port N" and serves until its input ends
//	grpc_peer client PORT      makes calls of all kinds, and prints what it got
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

type raw struct{}

func (raw) Marshal(message interface{}) ([]byte, error) { return *message.(*[]byte), nil }
func (raw) Unmarshal(data []byte, message interface{}) error {
	*message.(*[]byte) = append([]byte(nil), data...)
	return nil
}
func (raw) Name() string { return "proto" }

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func unary(_ interface{}, ctx context.Context, decode func(interface{}) error, _ grpc.UnaryServerInterceptor) (interface{}, error) {
	var request []byte
	if err := decode(&request); err != nil {
		return nil, err
	}
	if string(request) == "fail" {
		grpc.SetTrailer(ctx, metadata.Pairs("x-reason", "because"))
		return nil, status.Error(codes.NotFound, "no caf\u00e9 100%")
	}
	grpc.SendHeader(ctx, metadata.Pairs("x-initial", "yes"))
	grpc.SetTrailer(ctx, metadata.Pairs("x-trailing", "yes"))
	answer := bytes.Repeat(request, 2)
	return &answer, nil
}

func clientStream(_ interface{}, stream grpc.ServerStream) error {
	total := 0
	for {
		var request []byte
		if err := stream.RecvMsg(&request); err == io.EOF {
			answer := []byte(strconv.Itoa(total))
			return stream.SendMsg(&answer)
		} else if err != nil {
			return err
		}
		total += len(request)
	}
}

func serverStream(_ interface{}, stream grpc.ServerStream) error {
	var request []byte
	if err := stream.RecvMsg(&request); err != nil {
		return err
	}
	count, err := strconv.Atoi(string(request))
	for number := 0; number < count && err == nil; number++ {
		answer := bytes.Repeat([]byte("x"), number)
		err = stream.SendMsg(&answer)
	}
	return err
}

func both(_ interface{}, stream grpc.ServerStream) error {
	for {
		var request []byte
		if err := stream.RecvMsg(&request); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := stream.SendMsg(&request); err != nil {
			return err
		}
	}
}

func forever(_ interface{}, stream grpc.ServerStream) error {
	var request []byte
	if err := stream.RecvMsg(&request); err != nil {
		return err
	}
	first := []byte("first")
	if err := stream.SendMsg(&first); err != nil {
		return err
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

func server() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Echo",
		HandlerType: (*interface{})(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Unary", Handler: unary}},
		Streams: []grpc.StreamDesc{
			{StreamName: "ClientStream", Handler: clientStream, ClientStreams: true},
			{StreamName: "ServerStream", Handler: serverStream, ServerStreams: true},
			{StreamName: "Both", Handler: both, ClientStreams: true, ServerStreams: true},
			{StreamName: "Forever", Handler: forever, ServerStreams: true},
		},
	}, struct{}{})
	fmt.Println("port", listener.Addr().(*net.TCPAddr).Port)
	go func() { must(server.Serve(listener)) }()
	io.Copy(io.Discard, os.Stdin)
	server.Stop()
}

func dial(port string) *grpc.ClientConn {
	connection, err := grpc.Dial("127.0.0.1:"+port, grpc.WithInsecure(), grpc.WithBlock())
	must(err)
	return connection
}

func call(connection *grpc.ClientConn, ctx context.Context, method string, request []byte, options ...grpc.CallOption) ([]byte, error) {
	var answer []byte
	err := connection.Invoke(ctx, "/test.Echo/"+method, &request, &answer, options...)
	return answer, err
}

// Sends all requests, and returns the number of answers and of their bytes.
func stream(connection *grpc.ClientConn, method string, requests ...[]byte) (int, int, []byte) {
	description := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := connection.NewStream(context.Background(), description, "/test.Echo/"+method)
	must(err)
	for index := range requests {
		must(stream.SendMsg(&requests[index]))
	}
	must(stream.CloseSend())
	count, size := 0, 0
	var answer []byte
	for {
		if err := stream.RecvMsg(&answer); err == io.EOF {
			return count, size, answer
		} else {
			must(err)
		}
		count, size = count+1, size+len(answer)
	}
}

func client(port string) {
	connection := dial(port)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	ctx = metadata.AppendToOutgoingContext(ctx, "x-metadata", "one", "x-binary-bin", "\x00\xff")
	answer, err := call(connection, ctx, "Unary", []byte("hello"))
	must(err)
	cancel()
	fmt.Println("unary", len(answer))
	var sizes [][]byte
	for size := 0; size < 10; size++ {
		sizes = append(sizes, bytes.Repeat([]byte("x"), size))
	}
	_, _, sum := stream(connection, "ClientStream", sizes...)
	fmt.Println("client_stream", string(sum))
	count, _, _ := stream(connection, "ServerStream", []byte("20"))
	fmt.Println("server_stream", count)
	hundred := bytes.Repeat([]byte("y"), 100)
	_, size, _ := stream(connection, "Both", hundred, hundred, hundred, hundred, hundred)
	fmt.Println("both", size)
	answer, err = call(connection, context.Background(), "Unary", bytes.Repeat([]byte("w"), 1000), grpc.UseCompressor(gzip.Name))
	must(err)
	fmt.Println("compressed", len(answer))
	_, err = call(connection, context.Background(), "Unary", []byte("fail"))
	fmt.Println("error", int(status.Code(err)))
	_, err = call(connection, context.Background(), "Absent", nil)
	fmt.Println("error", int(status.Code(err)))
	endless, cancel := context.WithCancel(context.Background())
	never, err := connection.NewStream(endless, &grpc.StreamDesc{ServerStreams: true}, "/test.Echo/Forever")
	must(err)
	must(never.SendMsg(&[]byte{}))
	must(never.CloseSend())
	must(never.RecvMsg(&answer))
	fmt.Println("forever", len(answer))
	cancel()
	for err = nil; err == nil; {
		err = never.RecvMsg(&answer)
	}
	// What is still to be written when it is closed, such as that the call is cancelled, is not.
	time.Sleep(100 * time.Millisecond)
	connection.Close()
	another := dial(port)
	answer, err = call(another, context.Background(), "Unary", bytes.Repeat([]byte("z"), 20000))
	must(err)
	fmt.Println("large", len(answer))
	another.Close()
}

func main() {
	encoding.RegisterCodec(raw{})
	if os.Args[1] == "server" {
		server()
	} else {
		client(os.Args[2])
	}
}
