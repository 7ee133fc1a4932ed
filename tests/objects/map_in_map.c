//! Maps of maps: the inner one as a template inside the definition, and slots filled from the start (`.values`).
// programs: find
// maps: ports: array_of_maps 4 4 4, names: hash_of_maps 4 4 8, first: hash 4 8 16, second: hash 4 8 16
#include "include/bpf.h"

struct inner {
	UINT(type, HASH);
	UINT(max_entries, 16);
	TYPE(key, u32);
	TYPE(value, u64);
};

struct inner first SEC(".maps");
struct inner second SEC(".maps");

struct {
	UINT(type, ARRAY_OF_MAPS);
	UINT(max_entries, 4);
	UINT(key_size, 4);
	ARRAY(values, struct inner);
} ports SEC(".maps") = {
	.values = { [0] = &first, [3] = &second },
};

struct {
	UINT(type, HASH_OF_MAPS);
	UINT(max_entries, 8);
	TYPE(key, u32);
	ARRAY(values, struct {
		UINT(type, ARRAY_MAP);
		UINT(max_entries, 2);
		TYPE(key, u32);
		TYPE(value, u32);
	});
} names SEC(".maps");

SEC("xdp")
int find(struct xdp_md *context)
{
	u32 key = context->rx_queue_index;
	void *map = map_lookup(&ports, &key), *other = map_lookup(&names, &key);

	if (!map || !other)
		return XDP_PASS;
	return map_lookup(map, &key) && map_lookup(other, &key) ? XDP_DROP : XDP_PASS;
}

LICENSE("GPL");
