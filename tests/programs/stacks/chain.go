// Spins in a call chain that it knows: functions, a method, a closure. See stacks.c.
package main

import "fmt"

type square struct{ side uint64 }

//go:noinline
func leaf(rounds uint64) uint64 {
	var sum uint64
	for i := uint64(0); i < rounds; i++ {
		sum = sum*31 + i
	}
	return sum
}

//go:noinline
func (s *square) area(rounds uint64) uint64 {
	return leaf(rounds) + s.side
}

//go:noinline
func call(f func() uint64) uint64 {
	return f() + 1
}

//go:noinline
func start(s *square) uint64 {
	return call(func() uint64 { return s.area(1<<63) + 1 }) + 1
}

func main() {
	for _, frame := range []string{"main.main", "main.start", "main.call", "main.start.func1", "main.(*square).area", "main.leaf"} {
		fmt.Println("frame", frame)
	}
	fmt.Println("ready")
	fmt.Println(start(&square{3}))
}
