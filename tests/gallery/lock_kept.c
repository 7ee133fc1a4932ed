//! A spin lock is still held when the program ends.
// says: the program ends, or leaves the function, with a lock held
// try: call bpf_spin_unlock on every path
#include "../objects/include/bpf.h"

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
int lock_kept(struct xdp_md *context)
{
	u32 key = 0;
	struct total *total = map_lookup(&totals, &key);

	if (!total)
		return XDP_ABORTED;
	spin_lock(&total->lock);
	total->packets++;
	if (total->packets == 7)
		return XDP_DROP;
	spin_unlock(&total->lock);
	return XDP_PASS;
} // rejected

LICENSE("GPL");
