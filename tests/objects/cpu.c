//! Instruction sets: v1 as the first compilers wrote it, and v2.
// builds: v1 = -g -mcpu=v1, v2 = -g -mcpu=v2
// programs: compute
#include "include/bpf.h"

volatile s8 small = -3;
volatile u32 divisor = 2;

SEC("xdp")
int compute(struct xdp_md *context)
{
	s64 wide = small;
	s32 queue = context->rx_queue_index;

	wide += (s16)queue;
	wide += __builtin_bswap32(queue);
	wide += (u64)queue / (divisor ? divisor : 1);
	return wide > 0 ? XDP_PASS : XDP_DROP;
}

LICENSE("GPL");
