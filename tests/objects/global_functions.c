//! Global functions, which the kernel verifies once and alone: with scalars, with the context, with a pointer of known size.
// programs: use
// since: 5.13 = pointer arguments of global functions
#include "include/bpf.h"

struct pair {
	u32 a, b;
};

NOINLINE int sum(struct pair *pair)
{
	return pair ? pair->a + pair->b : 0;
}

NOINLINE int queue(struct xdp_md *context)
{
	return context->rx_queue_index;
}

NOINLINE u64 square(u32 x)
{
	return (u64)x * x;
}

SEC("xdp")
int use(struct xdp_md *context)
{
	struct pair pair = { queue(context), 2 };

	return sum(&pair) + square(pair.a) ? XDP_PASS : XDP_DROP;
}

LICENSE("GPL");
