//! A byte of the packet is read, and nothing asked whether the packet has that many.
// says: byte 23 is accessed, and no comparison with data_end on this path says that the packet has that much
// try: leave first if `data + 24 > data_end`
#include "../objects/include/bpf.h"

SEC("xdp")
int no_bounds_check(struct xdp_md *context)
{
	u8 *data = (void *)(long)context->data;

	if (data[23] == 6) // rejected
		return XDP_DROP;
	return XDP_PASS;
}

LICENSE("GPL");
