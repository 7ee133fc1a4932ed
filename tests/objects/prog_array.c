//! Tail calls through a program array that is filled at load (`.values`), one slot left empty.
// programs: first, second, third
// maps: chain: prog_array 4 4 3
#include "include/bpf.h"

int second(struct xdp_md *context);
int third(struct xdp_md *context);

struct {
	UINT(type, PROG_ARRAY);
	UINT(max_entries, 3);
	UINT(key_size, 4);
	ARRAY(values, int(struct xdp_md *));
} chain SEC(".maps") = {
	.values = { [0] = (void *)&second, [2] = (void *)&third },
};

SEC("xdp")
int first(struct xdp_md *context)
{
	tail_call(context, &chain, 0);
	return XDP_ABORTED;
}

SEC("xdp")
int second(struct xdp_md *context)
{
	tail_call(context, &chain, 2);
	return XDP_DROP;
}

SEC("xdp")
int third(struct xdp_md *context)
{
	return XDP_PASS;
}

LICENSE("GPL");
