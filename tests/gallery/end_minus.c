//! The place is taken from the end of the packet instead of added to its start.
// says: nothing can be added to or taken from data_end: it can only be compared with
// try: compare `data + N` with data_end, not data with `data_end - N`
#include "../objects/include/bpf.h"

SEC("xdp")
int end_minus(struct xdp_md *context)
{
	u8 *data = (void *)(long)context->data;
	u8 *end = (void *)(long)context->data_end;

	asm volatile("" : "+r"(end));
	end -= 14; // rejected
	if (data > end)
		return XDP_PASS;
	return data[12] == 8 ? XDP_PASS : XDP_DROP;
}

LICENSE("GPL");
