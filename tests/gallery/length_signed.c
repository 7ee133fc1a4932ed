//! The length of a helper's argument is signed and can be negative.
// says: R3 can be negative where it is an offset or a length
// try: make the variable unsigned and bound it right before: `if (i >= MAX) return …`, or `i &= MAX - 1`
#include "../objects/include/bpf.h"

struct {
	UINT(type, RINGBUF);
	UINT(max_entries, 4096);
} ring SEC(".maps");

SEC("xdp")
int length_signed(struct xdp_md *context)
{
	u8 copy[64] = {};
	s32 length = (s32)context->rx_queue_index;

	if (length > 64)
		return XDP_PASS;
	ringbuf_output(&ring, copy, length, 0); // rejected
	return XDP_PASS;
}

LICENSE("GPL");
