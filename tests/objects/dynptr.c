//! Dynamic pointers: a reservation in a ring buffer whose size is not a constant, and its slot on the stack.
// programs: report
// maps: ring: ringbuf 0 0 4096
// since: 5.19 = dynptr
#include "include/bpf.h"

struct bpf_dynptr {
	u64 : 64;
	u64 : 64;
} __attribute__((aligned(8)));

struct {
	UINT(type, RINGBUF);
	UINT(max_entries, 4096);
} ring SEC(".maps");

SEC("xdp")
int report(struct xdp_md *context)
{
	u32 queue = context->rx_queue_index;
	struct bpf_dynptr slot;

	if (!ringbuf_reserve_dynptr(&ring, 16 + (queue & 15), 0, &slot))
		dynptr_write(&slot, 0, &queue, sizeof(queue), 0);
	ringbuf_submit_dynptr(&slot, 0);
	return XDP_PASS;
}

LICENSE("GPL");
