// Spins in C that Go has called: on another stack. See stacks.c.
package main

/*
#include <stdint.h>

__attribute__((noinline)) static uint64_t c_leaf(uint64_t rounds)
{
	uint64_t sum = 0;
	for (uint64_t i = 0; i < rounds; i++) {
		sum = sum * 31 + i;
		__asm__ volatile("" ::: "memory");
	}
	return sum;
}

__attribute__((noinline)) static uint64_t c_spin(uint64_t rounds)
{
	uint64_t sum = c_leaf(rounds);
	__asm__ volatile("" ::: "memory");
	return sum + 1;
}
*/
import "C"

import "fmt"

//go:noinline
func start(rounds uint64) uint64 {
	return uint64(C.c_spin(C.uint64_t(rounds))) + 1
}

func main() {
	for _, frame := range []string{"main.main", "main.start"} {
		fmt.Println("frame", frame)
	}
	fmt.Println("any")
	for _, frame := range []string{"c_spin", "c_leaf"} {
		fmt.Println("frame", frame)
	}
	fmt.Println("ready")
	fmt.Println(start(1 << 63))
}
