//! A number from outside is the index into a map's value, and nothing bounds it.
// says: R0 has no upper bound where it is an offset or a length
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
int index_unbounded(struct xdp_md *context)
{
	u32 key = 0;
	struct table *table = map_lookup(&tables, &key);

	if (!table)
		return XDP_ABORTED;
	table->packets[context->rx_queue_index]++; // rejected
	return XDP_PASS;
}

LICENSE("GPL");
