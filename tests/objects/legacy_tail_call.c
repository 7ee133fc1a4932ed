//! Tail calls the old way: a program array in a legacy `maps` section and programs in sections that name a slot each.
// options: --type xdp
// programs: entry, one, two
// maps: jumps: prog_array 4 4 2
// libbpf: legacy map definitions
#include "include/bpf.h"

struct {
	u32 type, key_size, value_size, max_entries;
} jumps SEC("maps") = { PROG_ARRAY, 4, 4, 2 };

SEC("xdp")
int entry(struct xdp_md *context)
{
	tail_call(context, &jumps, context->rx_queue_index & 1);
	return XDP_PASS;
}

SEC("jumps/0")
int one(struct xdp_md *context)
{
	return XDP_DROP;
}

SEC("jumps/1")
int two(struct xdp_md *context)
{
	return XDP_TX;
}

LICENSE("GPL");
