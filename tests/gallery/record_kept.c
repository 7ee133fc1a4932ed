//! A record of a ring buffer is reserved, and neither submitted nor discarded on one path.
// says: what bpf_ringbuf_reserve gave (instruction 5) is not given back on this path
// try: call bpf_ringbuf_submit or bpf_ringbuf_discard on every path
#include "../objects/include/bpf.h"

struct {
	UINT(type, RINGBUF);
	UINT(max_entries, 4096);
} ring SEC(".maps");

SEC("xdp")
int record_kept(struct xdp_md *context)
{
	u32 *record = ringbuf_reserve(&ring, 4, 0);

	if (!record)
		return XDP_PASS;
	*record = context->rx_queue_index;
	if (*record == 7)
		return XDP_DROP;
	ringbuf_submit(record, 0);
	return XDP_PASS;
} // rejected

LICENSE("GPL");
