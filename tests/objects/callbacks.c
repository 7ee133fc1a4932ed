//! Callbacks: a function's address as an argument, for bpf_loop and bpf_for_each_map_elem.
// programs: walk
// maps: table: array 4 8 4
// since: 5.17 = callback
#include "include/bpf.h"

struct {
	UINT(type, ARRAY_MAP);
	UINT(max_entries, 4);
	TYPE(key, u32);
	TYPE(value, u64);
} table SEC(".maps");

static long add(u32 index, u64 *sum)
{
	*sum += index;
	return 0;
}

static long collect(void *map, const u32 *key, u64 *value, u64 *sum)
{
	*sum += *value;
	return 0;
}

SEC("xdp")
int walk(struct xdp_md *context)
{
	u64 sum = 0;

	loop(10, add, &sum, 0);
	for_each_map_elem(&table, collect, &sum, 0);
	return sum ? XDP_PASS : XDP_DROP;
}

LICENSE("GPL");
