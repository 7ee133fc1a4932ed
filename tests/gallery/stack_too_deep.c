//! Two functions have more on the stack together than it holds.
// says: a path of 2 calls needs 576 bytes of stack together; there are 512
// try: keep large variables in a map, such as a per-CPU array with one entry, instead of on the stack
#include "../objects/include/bpf.h"

static NOINLINE u32 inner(u32 seed)
{
	volatile u32 numbers[70] = {};

	numbers[9] = seed;
	return numbers[7];
}

SEC("xdp")
int stack_too_deep(struct xdp_md *context)
{
	volatile u32 numbers[70] = {};

	numbers[3] = inner(context->rx_queue_index);
	return numbers[3] ? XDP_DROP : XDP_PASS;
}

LICENSE("GPL");
