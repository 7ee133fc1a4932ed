//! A lookup may find nothing, and what it gives is read without asking.
// says: R0 may be NULL here: what the call returned was not compared with NULL on this path
// try: compare it with NULL right after the call (in Rust: `is_null()`), and leave when it is
#include "../objects/include/bpf.h"

struct {
	UINT(type, HASH);
	UINT(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, u64);
} values SEC(".maps");

SEC("xdp")
int null_unchecked(struct xdp_md *context)
{
	u32 key = 0;
	u64 *value = map_lookup(&values, &key);

	*value += 1; // rejected
	return XDP_PASS;
}

LICENSE("GPL");
