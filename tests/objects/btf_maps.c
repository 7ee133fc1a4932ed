//! BTF maps: sizes by type and by number, flags, map_extra, numa_node, a 64-bit number, names that need no pin.
// programs: use
// since: 5.16 = bloom_filter
// maps: by_type: hash 8 16 100, by_size: array 4 12 3, on_node: hash 4 4 8, filter: bloom_filter 0 4 50, open: array 4 4 1
#include "include/bpf.h"

struct key {
	u32 source, target;
};

struct value {
	u64 packets, bytes;
};

struct {
	UINT(type, HASH);
	UINT(max_entries, 100);
	UINT(map_flags, F_NO_PREALLOC);
	TYPE(key, struct key);
	TYPE(value, struct value);
} by_type SEC(".maps");

struct {
	UINT(type, ARRAY_MAP);
	UINT(max_entries, 3);
	UINT(key_size, 4);
	UINT(value_size, 12);
} by_size SEC(".maps");

struct {
	UINT(type, HASH);
	UINT(max_entries, 8);
	UINT(map_flags, F_NUMA_NODE);
	UINT(numa_node, 0);
	TYPE(key, u32);
	TYPE(value, u32);
} on_node SEC(".maps");

struct {
	UINT(type, BLOOM_FILTER);
	UINT(max_entries, 50);
	UINT(map_extra, 3);
	TYPE(value, u32);
} filter SEC(".maps");

struct {
	UINT(type, ARRAY_MAP);
	UINT(max_entries, 1);
	UINT(pinning, PIN_NONE);
	TYPE(key, u32);
	TYPE(value, u32);
} open SEC(".maps");

SEC("xdp")
int use(struct xdp_md *context)
{
	struct key key = { 1, 2 };
	struct value *value = map_lookup(&by_type, &key);
	u32 zero = 0;

	if (value)
		value->packets++;
	map_push(&filter, &zero, 0);
	return map_lookup(&by_size, &zero) && map_lookup(&on_node, &zero) && map_lookup(&open, &zero) ? XDP_DROP : XDP_PASS;
}

LICENSE("GPL");
