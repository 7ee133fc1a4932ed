//! A tail call is made through a map that holds numbers, not programs.
// says: bpf_tail_call works on maps of the type prog_array only
// try: define the map with the type BPF_MAP_TYPE_PROG_ARRAY
#include "../objects/include/bpf.h"

struct {
	UINT(type, ARRAY_MAP);
	UINT(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, u32);
} values SEC(".maps");

SEC("xdp")
int tail_call_array(struct xdp_md *context)
{
	tail_call(context, &values, 0); // rejected
	return XDP_PASS;
}

LICENSE("GPL");
