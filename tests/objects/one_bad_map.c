//! One map whose definition makes no sense among those that do: it costs the program that uses it.
// programs: kept
// maps: good: array 4 8 4
// fails: bad: member `color` is unknown
// fails: lost: its map `bad` was not created
// libbpf: unknown field
#include "include/bpf.h"

struct {
	UINT(type, ARRAY_MAP);
	UINT(max_entries, 4);
	TYPE(key, u32);
	TYPE(value, u64);
	UINT(color, 3);
} bad SEC(".maps");

struct {
	UINT(type, ARRAY_MAP);
	UINT(max_entries, 4);
	TYPE(key, u32);
	TYPE(value, u64);
} good SEC(".maps");

SEC("xdp/lost")
int lost(struct xdp_md *context)
{
	u32 key = 0;

	return map_lookup(&bad, &key) ? XDP_PASS : XDP_DROP;
}

SEC("xdp/kept")
int kept(struct xdp_md *context)
{
	u32 key = 0;

	return map_lookup(&good, &key) ? XDP_PASS : XDP_DROP;
}

LICENSE("GPL");
