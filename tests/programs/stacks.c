// Spins in a call chain that it knows, so that a profiler can be held against it.
//
//   stacks MODE [ARGUMENT]
//
// Prints the functions from main on, a line each: `frame NAME`, or `any` where others may follow that
// are not ours; then `ready`. Then it spins until it is killed.
#define _GNU_SOURCE
#include <alloca.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef __clang__
#define KEPT __attribute__((noinline))
#else
#define KEPT __attribute__((noinline, noclone))
#endif
// Keeps a call from becoming a jump, and a loop from being computed.
#define BARRIER() __asm__ volatile("" ::: "memory")

static void say(const char *const *frames)
{
	for (; *frames; frames++) {
		if (strcmp(*frames, "any"))
			printf("frame %s\n", *frames);
		else
			puts("any");
	}
	puts("ready");
	fflush(stdout);
}

#define SAY(...) say((const char *const[]){ "main", __VA_ARGS__, NULL })

// A leaf without a frame: what hides its caller from those who follow frame pointers.
KEPT uint64_t leaf(uint64_t rounds)
{
	uint64_t sum = 0;
	for (uint64_t i = 0; i < rounds; i++) {
		sum = sum * 31 + i;
		BARRIER();
	}
	return sum;
}

#define LINK(name, next)                                                                           \
	KEPT uint64_t name(uint64_t rounds)                                                        \
	{                                                                                          \
		uint64_t sum = next(rounds);                                                       \
		BARRIER();                                                                         \
		return sum + 1;                                                                    \
	}

#define FOREVER UINT64_MAX

LINK(chain_c, leaf)
LINK(chain_b, chain_c)
LINK(chain_a, chain_b)

#define CHAIN "chain_a", "chain_b", "chain_c", "leaf"

// Registers and stack of all sizes between the functions.
KEPT uint64_t large_frame(uint64_t rounds)
{
	volatile char space[70000];
	space[0] = 1;
	uint64_t sum = leaf(rounds);
	BARRIER();
	return sum + space[0];
}

KEPT uint64_t dynamic_frame(uint64_t rounds)
{
	volatile char *space = alloca(rounds % 1000 + 64);
	space[0] = 1;
	uint64_t sum = large_frame(rounds);
	BARRIER();
	return sum + space[0];
}

// More alignment than the ABI gives: the frame address is computed from a saved pointer.
KEPT uint64_t aligned_frame(uint64_t rounds)
{
	volatile char space[256] __attribute__((aligned(128)));
	space[0] = 1;
	uint64_t sum = dynamic_frame(rounds);
	BARRIER();
	return sum + space[0] + ((uintptr_t)space & 127);
}

KEPT uint64_t recurse(uint64_t depth)
{
	uint64_t sum = depth > 1 ? recurse(depth - 1) : leaf(FOREVER);
	BARRIER();
	return sum + depth;
}

KEPT uint64_t handler_leaf(uint64_t rounds)
{
	return leaf(rounds) + 1;
}

static void handler(int number)
{
	(void)number;
	handler_leaf(FOREVER);
	BARRIER();
}

static void interrupt_by(int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags };
	sigaction(SIGVTALRM, &action, NULL);
	if (flags & SA_ONSTACK) {
		stack_t stack = { .ss_sp = malloc(1 << 16), .ss_size = 1 << 16 };
		sigaltstack(&stack, NULL);
	}
	// Of its own CPU time, so that it is in the leaf by then, however slow the machine.
	struct itimerval soon = { .it_value = { .tv_usec = 20000 } };
	setitimer(ITIMER_VIRTUAL, &soon, NULL);
}

static int compare(const void *one, const void *other)
{
	(void)one, (void)other;
	int result = (int)leaf(FOREVER);
	BARRIER();
	return result;
}

KEPT uint64_t sort(void)
{
	int numbers[100] = { 1 };
	qsort(numbers, 100, sizeof(int), compare);
	BARRIER();
	return (uint64_t)numbers[0];
}

KEPT uint64_t call_other_libraries(void)
{
	uint64_t sum = 0;
	for (;;) {
		sum += (uint64_t)random();
		BARRIER();
	}
	return sum;
}

KEPT uint64_t ask_for_the_time(void)
{
	struct timespec now;
	uint64_t sum = 0;
	for (;;) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		sum += (uint64_t)now.tv_nsec;
	}
	return sum;
}

/* The same loop at another place can take a tenth longer, if a cache line ends in it. */
KEPT uint64_t spin_for(uint64_t rounds)
{
	uint64_t sum = 0;
	for (uint64_t i = 0; i < rounds; i++) {
		sum = sum * 31 + i;
		BARRIER();
	}
	return sum;
}

KEPT uint64_t twice(uint64_t rounds)
{
	uint64_t sum = spin_for(2 * rounds);
	BARRIER();
	return sum;
}

KEPT uint64_t once(uint64_t rounds)
{
	uint64_t sum = spin_for(rounds);
	BARRIER();
	return sum;
}

KEPT uint64_t two_to_one(void)
{
	uint64_t sum = 0;
	// Of a length that changes: a round that always takes as long beats with the sampler's clock.
	uint32_t random = 1;
	for (;;) {
		random = random * 1664525 + 1013904223;
		uint64_t rounds = random >> 14;
		sum += twice(rounds);
		sum += once(rounds);
	}
	return sum;
}

KEPT uint64_t wait_long(void)
{
	for (;;) {
		struct timespec pause = { .tv_nsec = 20000000 };
		nanosleep(&pause, NULL);
		BARRIER();
	}
	return 0;
}

KEPT uint64_t spin_in_library(const char *path)
{
	void *library = dlopen(path, RTLD_NOW);
	uint64_t (*spin)(uint64_t) = library ? (uint64_t(*)(uint64_t))dlsym(library, "library_spin") : NULL;
	if (!spin) {
		fprintf(stderr, "%s\n", dlerror());
		exit(1);
	}
	uint64_t sum = spin(100000000);
	BARRIER();
	dlclose(library);
	return sum;
}

static void *thread(void *argument)
{
	chain_a(FOREVER);
	BARRIER();
	return argument;
}

static uint64_t in_a_thread(void)
{
	pthread_t id;
	pthread_create(&id, NULL, thread, NULL);
	pthread_join(id, NULL);
	return 0;
}

// Many processes that live for 20 ms each.
static uint64_t short_lives(const char *self)
{
	for (;;) {
		pid_t child = fork();
		if (!child) {
			execl(self, self, "short", NULL);
			_exit(1);
		}
		waitpid(child, NULL, 0);
	}
}

KEPT uint64_t live_shortly(void)
{
	uint64_t sum = chain_a(20 * 700000);
	BARRIER();
	return sum;
}

// A thousand programs a second, as far as the machine can: each lives for 20 ms, of which it mostly sleeps.
static uint64_t naps(const char *self)
{
	struct timespec next;

	signal(SIGCHLD, SIG_IGN);
	clock_gettime(CLOCK_MONOTONIC, &next);
	for (;;) {
		if (!vfork()) {
			execl(self, self, "nap", NULL);
			_exit(1);
		}
		next.tv_nsec += 1000000;
		if (next.tv_nsec >= 1000000000) {
			next.tv_sec++;
			next.tv_nsec -= 1000000000;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	}
}

KEPT uint64_t nap(void)
{
	uint64_t sum = chain_a(200000);
	BARRIER();
	usleep(19000);
	return sum;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "chain";
	const char *argument = argc > 2 ? argv[2] : "";
	uint64_t sum = 0;
	if (!strcmp(mode, "chain")) {
		SAY(CHAIN);
		sum = chain_a(FOREVER);
	} else if (!strcmp(mode, "frames")) {
		SAY("aligned_frame", "dynamic_frame", "large_frame", "leaf");
		sum = aligned_frame(FOREVER);
	} else if (!strcmp(mode, "recursion")) {
		const char *frames[53] = { "main" };
		for (int i = 1; i <= 50; i++)
			frames[i] = "recurse";
		frames[51] = "leaf";
		say(frames);
		sum = recurse(50);
	} else if (!strcmp(mode, "deep")) {
		puts("ready");
		fflush(stdout);
		sum = recurse(5000);
	} else if (!strcmp(mode, "signal") || !strcmp(mode, "alternate")) {
		SAY(CHAIN, "signal", "handler", "handler_leaf", "leaf");
		interrupt_by(strcmp(mode, "signal") ? SA_ONSTACK : 0);
		sum = chain_a(FOREVER);
	} else if (!strcmp(mode, "callback")) {
		SAY("sort", "any", "compare", "leaf");
		sum = sort();
	} else if (!strcmp(mode, "plt")) {
		SAY("call_other_libraries", "any");
		sum = call_other_libraries();
	} else if (!strcmp(mode, "vdso")) {
		SAY("ask_for_the_time", "any");
		sum = ask_for_the_time();
	} else if (!strcmp(mode, "two_to_one")) {
		SAY("two_to_one", "any");
		sum = two_to_one();
	} else if (!strcmp(mode, "wait")) {
		SAY("wait_long", "any");
		sum = wait_long();
	} else if (!strcmp(mode, "thread")) {
		puts("frame thread");
		say((const char *const[]){ CHAIN, NULL });
		sum = in_a_thread();
	} else if (!strcmp(mode, "library")) {
		SAY("spin_in_library", "library_spin", "library_leaf");
		for (;;)
			sum += spin_in_library(argument);
	} else if (!strcmp(mode, "fork")) {
		SAY(CHAIN);
		if (!fork())
			sum = chain_a(FOREVER);
		waitpid(-1, NULL, 0);
	} else if (!strcmp(mode, "exec")) {
		leaf(100000000);
		execl(argument, argument, "chain", NULL);
		return 1;
	} else if (!strcmp(mode, "shorts")) {
		SAY("live_shortly", CHAIN);
		sum = short_lives(argument);
	} else if (!strcmp(mode, "short")) {
		sum = live_shortly();
	} else if (!strcmp(mode, "naps")) {
		SAY("nap", CHAIN);
		sum = naps(argument);
	} else if (!strcmp(mode, "nap")) {
		sum = nap();
	} else {
		fprintf(stderr, "no mode %s\n", mode);
		return 2;
	}
	return (int)(sum & 1);
}
