//! Ring and perf buffers: one sized, one of an odd size that is rounded up to pages, one with an entry for each CPU.
// programs: report
// maps: ring: ringbuf 0 0 8192, odd: ringbuf 0 0 8192, perf: perf_event_array 4 4 *
#include "include/bpf.h"

struct event {
	u32 queue;
};

struct {
	UINT(type, RINGBUF);
	UINT(max_entries, 8192);
} ring SEC(".maps");

struct {
	UINT(type, RINGBUF);
	UINT(max_entries, 5000);
} odd SEC(".maps");

struct {
	UINT(type, PERF_EVENT_ARRAY);
	UINT(key_size, 4);
	UINT(value_size, 4);
} perf SEC(".maps");

SEC("xdp")
int report(struct xdp_md *context)
{
	struct event event = { context->rx_queue_index };

	ringbuf_output(&ring, &event, sizeof(event), 0);
	ringbuf_output(&odd, &event, sizeof(event), 0);
	perf_event_output(context, &perf, F_CURRENT_CPU, &event, sizeof(event));
	return XDP_PASS;
}

LICENSE("GPL");
