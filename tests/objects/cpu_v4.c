//! Instructions of cpu v4: sign-extending loads and moves, byte swaps, signed division.
// builds: v4 = -g -mcpu=v4
// programs: compute
// since: 6.6 = -mcpu=v4
#include "include/bpf.h"

volatile s8 small = -3;
volatile s32 divisor = 2;

SEC("xdp")
int compute(struct xdp_md *context)
{
	s64 wide = small;
	s32 queue = context->rx_queue_index;

	wide += (s16)queue;
	wide += __builtin_bswap32(queue);
	wide += queue / (divisor ? divisor : 1);
	return wide > 0 ? XDP_PASS : XDP_DROP;
}

LICENSE("GPL");
