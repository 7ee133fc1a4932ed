//! A map with a spin lock is defined without types, so the kernel cannot know where the lock is.
// says: the kernel finds the bpf_spin_lock in a value by the map's types, and `totals` came without
// try: define the map in the section .maps with its key's and value's types, and compile with -g
#include "../objects/include/bpf.h"

struct bpf_map_def {
	u32 type, key_size, value_size, max_entries, map_flags;
};

struct bpf_map_def totals SEC("maps") = {ARRAY_MAP, 4, 16, 1, 0};

SEC("xdp")
int lock_without_types(struct xdp_md *context)
{
	u32 key = 0;
	void *total = map_lookup(&totals, &key);

	if (!total)
		return XDP_ABORTED;
	spin_lock(total); // rejected
	spin_unlock(total);
	return XDP_PASS;
}

LICENSE("GPL");
