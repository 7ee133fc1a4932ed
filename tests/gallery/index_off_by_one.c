//! The bound of an index lets the number of entries through, of which the last is one less.
// says: an access of size 4 can begin at offset 64, and a map's value has 64 bytes (R0 is an address with a variable part)
// try: make the variable unsigned and bound it right before: `if (i >= MAX) return …`, or `i &= MAX - 1`
#include "../objects/include/bpf.h"

struct table {
	u32 packets[16];
};

struct {
	UINT(type, ARRAY_MAP);
	UINT(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, struct table);
} tables SEC(".maps");

SEC("xdp")
int index_off_by_one(struct xdp_md *context)
{
	u32 key = 0, queue = context->rx_queue_index;
	struct table *table = map_lookup(&tables, &key);

	if (!table || queue > 16)
		return XDP_ABORTED;
	table->packets[queue]++; // rejected
	return XDP_PASS;
}

LICENSE("GPL");
