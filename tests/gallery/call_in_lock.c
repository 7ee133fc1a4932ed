//! A helper is called while a spin lock is held.
// says: between bpf_spin_lock and bpf_spin_unlock nothing may be called
// try: call it before or after, and keep the values in local variables
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
int call_in_lock(struct xdp_md *context)
{
	u32 key = 0;
	struct total *total = map_lookup(&totals, &key);

	if (!total)
		return XDP_ABORTED;
	spin_lock(&total->lock);
	total->packets += get_prandom_u32(); // rejected
	spin_unlock(&total->lock);
	return XDP_PASS;
}

LICENSE("GPL");
