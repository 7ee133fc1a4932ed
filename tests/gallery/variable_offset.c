//! The header's own length leads to the next header, and the bytes there are read without a second comparison.
// says: byte 27 is accessed behind a variable offset, and no comparison with data_end was made after that was added
// try: after the variable offset was added to p, leave if `p + 28 > data_end`, and read through that p
#include "../objects/include/bpf.h"

SEC("xdp")
int variable_offset(struct xdp_md *context)
{
	u8 *data = (void *)(long)context->data;
	u8 *end = (void *)(long)context->data_end;

	if (data + 34 > end)
		return XDP_PASS;
	u8 *tcp = data + 14 + (data[14] & 15) * 4;

	return tcp[13] & 2 ? XDP_DROP : XDP_PASS; // rejected
}

LICENSE("GPL");
