//! The map's key has eight bytes, and the variable passed as one has four.
// says: 8 bytes are read at offset -4 from the frame pointer, where the stack has 4 left: the variable that is passed is smaller
// try: pass a variable of the size that the map's key or value has, or that the call is told
#include "../objects/include/bpf.h"

struct {
	UINT(type, HASH);
	UINT(max_entries, 1);
	TYPE(key, u64);
	TYPE(value, u64);
} values SEC(".maps");

SEC("xdp")
int key_too_small(struct xdp_md *context)
{
	u32 key = 0;

	return map_lookup(&values, &key) ? XDP_PASS : XDP_DROP; // rejected
}

LICENSE("GPL");
