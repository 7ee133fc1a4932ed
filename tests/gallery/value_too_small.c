//! Four bytes behind a map's value of eight are written.
// says: an access of size 4 at offset 8 is not inside the map's values of 8 bytes
// try: access the value by the type that the map's definition has for it, or define a larger one
#include "../objects/include/bpf.h"

struct {
	UINT(type, ARRAY_MAP);
	UINT(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, u64);
} values SEC(".maps");

SEC("xdp")
int value_too_small(struct xdp_md *context)
{
	u32 key = 0;
	u32 *value = map_lookup(&values, &key);

	if (value)
		value[2] = 1; // rejected
	return XDP_PASS;
}

LICENSE("GPL");
