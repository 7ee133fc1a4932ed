//! A callback returns something that is neither "go on" nor "stop".
// says: a callback returns 0 to go on or 1 to stop, and what this one returns is not always in [0, 1]
// try: return 0 or 1 on every path
// before 5.13: the address of a function, as a callback, needs Linux 5.13
#include "../objects/include/bpf.h"

static long step(u32 index, void *context)
{
	return index + 2; // rejected
}

SEC("xdp")
int callback_returns(struct xdp_md *context)
{
	u64 sum = 0;

	loop(10, step, &sum, 0);
	return XDP_PASS;
}

LICENSE("GPL");
