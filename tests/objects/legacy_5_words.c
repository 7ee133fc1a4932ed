//! Maps in a legacy section `maps`: structs of 5 words, of which there are two, so that their size shows from the symbols.
// builds: g = -g, plain =
// programs: count
// maps: packets: array 4 8 1, seen: hash 4 8 64
// libbpf: legacy map definitions
#include "include/bpf.h"

struct definition {
	u32 type, key_size, value_size, max_entries, map_flags;
};

struct definition packets SEC("maps") = { ARRAY_MAP, 4, 8, 1, 0 };
struct definition seen SEC("maps") = { HASH, 4, 8, 64, 0 };

SEC("xdp")
int count(struct xdp_md *context)
{
	u32 key = 0, port = context->rx_queue_index;
	u64 one = 1, *packets_seen = map_lookup(&packets, &key);

	if (packets_seen)
		__sync_fetch_and_add(packets_seen, 1);
	map_update(&seen, &port, &one, BPF_ANY);
	return XDP_PASS;
}

LICENSE("GPL");
