//! The context is read at an offset that is only known when the program runs.
// says: the context is read at an offset that is not a constant
// try: read each field by its name into a local variable, and choose among those
#include "../objects/include/bpf.h"

SEC("xdp")
int context_moved(struct xdp_md *context)
{
	u64 field = context->rx_queue_index & 4;

	asm volatile("%0 += %1\n%1 = *(u32 *)(%0 + 0)" : "+r"(context), "+r"(field)); // rejected
	return field ? XDP_DROP : XDP_PASS;
}

LICENSE("GPL");
