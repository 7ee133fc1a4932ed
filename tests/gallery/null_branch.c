//! The comparison with NULL is the wrong way round: the value is used where there is none.
// says: R1 is NULL on this path
// try: leave the path on which it is NULL
#include "../objects/include/bpf.h"

struct {
	UINT(type, HASH);
	UINT(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, u64);
} values SEC(".maps");

SEC("xdp")
int null_branch(struct xdp_md *context)
{
	u32 key = 0;
	u64 *value = map_lookup(&values, &key);

	if (value)
		return XDP_PASS;
	*(volatile u64 *)value += 1; // rejected
	return XDP_DROP;
}

LICENSE("GPL");
