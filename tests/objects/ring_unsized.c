//! A ring buffer that is left at 0 entries, for the user to size.
// options: --max-entries ring=8192
// programs: report
// maps: ring: ringbuf 0 0 8192
// libbpf: Invalid argument(-22)
#include "include/bpf.h"

struct {
	UINT(type, RINGBUF);
} ring SEC(".maps");

SEC("xdp")
int report(struct xdp_md *context)
{
	u32 queue = context->rx_queue_index;

	ringbuf_output(&ring, &queue, sizeof(queue), 0);
	return XDP_PASS;
}

LICENSE("GPL");
