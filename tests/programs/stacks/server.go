// A web server as many are: each answer is made as JSON, after some sorting. It says where it listens.
package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sort"
	"strconv"
)

type item struct {
	Name   string            `json:"name"`
	Size   int               `json:"size"`
	Labels map[string]string `json:"labels"`
}

func items(count int) []item {
	all := make([]item, 0, count)
	for i := 0; i < count; i++ {
		name := "item " + strconv.Itoa(i*7919%count)
		all = append(all, item{name, i, map[string]string{"parity": strconv.Itoa(i % 2)}})
	}
	sort.Slice(all, func(a, b int) bool { return all[a].Name < all[b].Name })
	return all
}

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(items(200)); err != nil {
			return
		}
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr())
	panic(http.Serve(listener, nil))
}
