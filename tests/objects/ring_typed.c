//! A ring buffer whose definition has a value type, which says what user space reads and which the kernel does not take.
// programs: report
// maps: typed: ringbuf 0 0 4096
// libbpf: Invalid argument(-22)
#include "include/bpf.h"

struct event {
	u32 queue;
};

struct {
	UINT(type, RINGBUF);
	UINT(max_entries, 4096);
	TYPE(value, struct event);
} typed SEC(".maps");

SEC("xdp")
int report(struct xdp_md *context)
{
	struct event event = { context->rx_queue_index };

	ringbuf_output(&typed, &event, sizeof(event), 0);
	return XDP_PASS;
}

LICENSE("GPL");
