//! A local array is indexed by a number that nothing bounds.
// says: the stack is accessed at an offset (R2) that has no bounds
// try: make the variable unsigned and bound it right before: `if (i >= MAX) return …`, or `i &= MAX - 1`
#include "../objects/include/bpf.h"

SEC("xdp")
int stack_index(struct xdp_md *context)
{
	volatile u8 seen[16] = {};

	seen[context->rx_queue_index] = 1; // rejected
	return seen[3] ? XDP_DROP : XDP_PASS;
}

LICENSE("GPL");
