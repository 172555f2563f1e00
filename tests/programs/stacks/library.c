// A library that `stacks library` loads, spins in and unloads, again and again.
#include <stdint.h>

__attribute__((noinline)) static uint64_t library_leaf(uint64_t rounds)
{
	uint64_t sum = 0;
	for (uint64_t i = 0; i < rounds; i++) {
		sum = sum * 31 + i;
		__asm__ volatile("" ::: "memory");
	}
	return sum;
}

uint64_t library_spin(uint64_t rounds)
{
	uint64_t sum = library_leaf(rounds);
	__asm__ volatile("" ::: "memory");
	return sum + 1;
}
