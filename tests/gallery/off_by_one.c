//! The comparison covers 23 bytes, and the byte read after it is the 24th.
// says: byte 23 is accessed, and the comparison with data_end on this path covers 23 bytes
// try: leave first if `data + 24 > data_end`
#include "../objects/include/bpf.h"

SEC("xdp")
int off_by_one(struct xdp_md *context)
{
	u8 *data = (void *)(long)context->data;
	u8 *end = (void *)(long)context->data_end;

	if (data + 23 > end)
		return XDP_PASS;
	if (data[23] == 6) // rejected
		return XDP_DROP;
	return XDP_PASS;
}

LICENSE("GPL");
