//! An atomic addition to a counter in the packet itself.
// says: an atomic instruction works on a map's value, not through a `pkt` pointer
// try: count in a map's value; in the packet, read, add and write are enough: no other CPU has it
#include "../objects/include/bpf.h"

SEC("xdp")
int atomic_in_packet(struct xdp_md *context)
{
	u8 *data = (void *)(long)context->data;
	u8 *end = (void *)(long)context->data_end;

	if (data + 8 > end)
		return XDP_PASS;
	__sync_fetch_and_add((u64 *)data, 1); // rejected
	return XDP_PASS;
}

LICENSE("GPL");
