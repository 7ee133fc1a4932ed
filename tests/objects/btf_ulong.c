//! A number of 64 bits in a map's definition, as libbpf's `__ulong` writes it: the value of an enum that only the member has.
// programs: fill
// maps: filter: bloom_filter 0 8 16
// since: 5.16 = bloom_filter
// libbpf: expected PTR, got enum
#include "include/bpf.h"

struct {
	UINT(type, BLOOM_FILTER);
	UINT(max_entries, 16);
	ULONG(map_extra, 5ull);
	TYPE(value, u64);
} filter SEC(".maps");

SEC("xdp")
int fill(struct xdp_md *context)
{
	u64 value = context->rx_queue_index;

	return map_push(&filter, &value, 0) ? XDP_DROP : XDP_PASS;
}

LICENSE("GPL");
