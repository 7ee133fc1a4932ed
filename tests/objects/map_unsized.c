//! A hash that is left at 0 entries: `--max-entries` gives it its size.
// options: --max-entries seen=100
// programs: see
// maps: seen: hash 4 8 100
// libbpf: Invalid argument(-22)
#include "include/bpf.h"

struct {
	UINT(type, HASH);
	TYPE(key, u32);
	TYPE(value, u64);
} seen SEC(".maps");

SEC("xdp")
int see(struct xdp_md *context)
{
	u32 key = context->rx_queue_index;

	return map_lookup(&seen, &key) ? XDP_DROP : XDP_PASS;
}

LICENSE("GPL");
