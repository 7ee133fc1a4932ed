//! A pointer into the packet is kept in 32 bits.
// says: R1 is a pointer that went through 32-bit arithmetic, which cuts it in half
// try: keep pointers out of 32-bit integers: `unsigned long`, or usize
#include "../objects/include/bpf.h"

SEC("xdp")
int half_pointer(struct xdp_md *context)
{
	u8 *data = (void *)(long)context->data;
	u8 *end = (void *)(long)context->data_end;
	u32 half = (u32)(long)data + 14; // rejected
	u8 *type = (u8 *)(long)half;

	if (type + 1 > end)
		return XDP_PASS;
	return *type ? XDP_PASS : XDP_DROP;
}

LICENSE("GPL");
