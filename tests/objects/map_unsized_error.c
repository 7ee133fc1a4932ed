//! A hash that is left at 0 entries, and nobody gives it a size: an error that says how to.
// refused: --max-entries seen=
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
