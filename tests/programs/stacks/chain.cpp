// Spins in a call chain that it knows: methods, templates, lambdas, a virtual call, an exception that
// was caught on the way. See stacks.c.
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <stdexcept>

#define BARRIER() __asm__ volatile("" ::: "memory")
#define KEPT __attribute__((noinline))

namespace chain {

KEPT std::uint64_t leaf(std::uint64_t rounds)
{
	std::uint64_t sum = 0;
	for (std::uint64_t i = 0; i < rounds; i++) {
		sum = sum * 31 + i;
		BARRIER();
	}
	return sum;
}

template <typename T> struct Holder {
	T value;
	KEPT T spin(T rounds)
	{
		T sum = leaf(rounds);
		BARRIER();
		return sum + value;
	}
};

struct Shape {
	virtual ~Shape() = default;
	virtual std::uint64_t area(std::uint64_t rounds) = 0;
};

struct Square : Shape {
	KEPT std::uint64_t area(std::uint64_t rounds) override
	{
		Holder<unsigned long> holder{ 3 };
		std::uint64_t sum = holder.spin(rounds);
		BARRIER();
		return sum + 1;
	}
};

KEPT void fail()
{
	BARRIER();
	throw std::runtime_error("caught on the way");
}

KEPT std::uint64_t after_an_exception(Shape &shape, std::uint64_t rounds)
{
	std::uint64_t sum = 0;
	try {
		fail();
	} catch (const std::exception &) {
		sum = shape.area(rounds);
		BARRIER();
	}
	return sum + 1;
}

} // namespace chain

int main()
{
	std::unique_ptr<chain::Shape> shape = std::make_unique<chain::Square>();
	std::puts("frame main");
	std::puts("frame chain::after_an_exception(chain::Shape&, unsigned long)");
	std::puts("frame chain::Square::area(unsigned long)");
	std::puts("frame chain::Holder<unsigned long>::spin(unsigned long)");
	std::puts("frame chain::leaf(unsigned long)");
	std::puts("ready");
	std::fflush(stdout);
	std::uint64_t sum = chain::after_an_exception(*shape, UINT64_MAX);
	BARRIER();
	return static_cast<int>(sum & 1);
}
