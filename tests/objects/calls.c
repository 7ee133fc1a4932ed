//! Calls between functions in `.text`: static, global and hidden ones, which two programs share.
// builds: g = -g, plain =
// programs: one, two
#include "include/bpf.h"

static NOINLINE int twice(int x)
{
	return x * 2 + 1;
}

NOINLINE int shared(int x)
{
	return twice(x) ^ 7;
}

HIDDEN NOINLINE int hidden(int x)
{
	return shared(x) - 1;
}

SEC("xdp")
int one(struct xdp_md *context)
{
	return hidden(context->rx_queue_index) ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int two(struct xdp_md *context)
{
	return shared(context->ingress_ifindex) ? XDP_PASS : XDP_DROP;
}

LICENSE("GPL");
