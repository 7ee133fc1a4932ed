//! A BTF map that asks to be pinned by its name, and one that doesn't.
// programs: count
// maps: pinned: hash 4 8 16, loose: array 4 8 1
#include "include/bpf.h"

struct {
	UINT(type, HASH);
	UINT(max_entries, 16);
	UINT(pinning, PIN_BY_NAME);
	TYPE(key, u32);
	TYPE(value, u64);
} pinned SEC(".maps");

struct {
	UINT(type, ARRAY_MAP);
	UINT(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, u64);
} loose SEC(".maps");

SEC("xdp")
int count(struct xdp_md *context)
{
	u32 key = 0;

	return map_lookup(&pinned, &key) && map_lookup(&loose, &key) ? XDP_DROP : XDP_PASS;
}

LICENSE("GPL");
