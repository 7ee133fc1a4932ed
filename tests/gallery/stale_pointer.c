//! The packet's start is moved, and a pointer from before is used after it.
// says: R6 was a pointer until bpf_xdp_adjust_head was called, which makes it worthless
// try: read data and data_end from the context again after bpf_xdp_adjust_head, and compare them again
#include "../objects/include/bpf.h"

SEC("xdp")
int stale_pointer(struct xdp_md *context)
{
	u8 *data = (void *)(long)context->data;
	u8 *end = (void *)(long)context->data_end;

	if (data + 14 > end)
		return XDP_PASS;
	if (xdp_adjust_head(context, -8))
		return XDP_ABORTED;
	return data[12] == 8 ? XDP_PASS : XDP_DROP; // rejected
}

LICENSE("GPL");
