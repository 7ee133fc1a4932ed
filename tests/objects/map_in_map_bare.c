//! A map of maps whose definition leaves open what the maps in it look like, for user space to say.
// options: --inner ports=first
// programs: find
// maps: ports: hash_of_maps 4 4 4, first: hash 4 8 16
// libbpf: failed to create
#include "include/bpf.h"

struct {
	UINT(type, HASH);
	UINT(max_entries, 16);
	TYPE(key, u32);
	TYPE(value, u64);
} first SEC(".maps");

struct {
	UINT(type, HASH_OF_MAPS);
	UINT(max_entries, 4);
	UINT(key_size, 4);
	UINT(value_size, 4);
} ports SEC(".maps");

SEC("xdp")
int find(struct xdp_md *context)
{
	u32 key = context->rx_queue_index;
	void *map = map_lookup(&ports, &key);

	if (!map || !map_lookup(&first, &key))
		return XDP_PASS;
	return map_lookup(map, &key) ? XDP_DROP : XDP_PASS;
}

LICENSE("GPL");
