// Works at the end of a known chain of functions, and says how much it got done: what is taken away from
// it by those who look at its stack shows in that.
//
//   deep_work MILLISECONDS
//
// Prints how many rounds it made, and in how many nanoseconds of CPU time: in these are the interrupts that
// sample. The chain: main, 27 times descend, work, one_round.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define KEPT __attribute__((noinline, noclone))
#define BARRIER() __asm__ volatile("" ::: "memory")

static uint64_t rounds;

static uint64_t now(clockid_t clock)
{
	struct timespec time;
	clock_gettime(clock, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

KEPT uint64_t one_round(void)
{
	uint64_t sum = 0;
	for (uint64_t i = 0; i < 20000; i++) {
		sum = sum * 31 + i;
		BARRIER();
	}
	return sum;
}

KEPT uint64_t work(uint64_t nanoseconds)
{
	uint64_t begun = now(CLOCK_MONOTONIC), sum = 0;
	uint64_t before = now(CLOCK_PROCESS_CPUTIME_ID);
	do {
		sum += one_round();
		rounds++;
	} while (now(CLOCK_MONOTONIC) - begun < nanoseconds);
	printf("%llu %llu\n", (unsigned long long)rounds,
	       (unsigned long long)(now(CLOCK_PROCESS_CPUTIME_ID) - before));
	return sum;
}

KEPT uint64_t descend(uint64_t depth, uint64_t nanoseconds)
{
	uint64_t sum = depth > 1 ? descend(depth - 1, nanoseconds) : work(nanoseconds);
	BARRIER();
	return sum + depth;
}

int main(int argc, char **argv)
{
	return (int)(descend(27, argc > 1 ? strtoull(argv[1], NULL, 10) * 1000000 : 0) & 1);
}
