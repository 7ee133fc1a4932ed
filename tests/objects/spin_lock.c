//! A spin lock in a map's value: the kernel finds it by the value's type.
// programs: count
// maps: totals: array 4 16 1
#include "include/bpf.h"

struct bpf_spin_lock {
	u32 value;
};

struct total {
	struct bpf_spin_lock lock;
	u64 packets;
};

struct {
	UINT(type, ARRAY_MAP);
	UINT(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, struct total);
} totals SEC(".maps");

SEC("xdp")
int count(struct xdp_md *context)
{
	u32 key = 0;
	struct total *total = map_lookup(&totals, &key);

	if (!total)
		return XDP_ABORTED;
	spin_lock(&total->lock);
	total->packets++;
	spin_unlock(&total->lock);
	return XDP_PASS;
}

LICENSE("GPL");
