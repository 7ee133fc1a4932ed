//! A loop ends, but only after more steps than the verifier follows.
// says: the verifier gave up after 1000001 instructions along all paths; loops and branches multiply what the program has
// try: bound loops by small constants, use bpf_loop (Linux 5.17), or move a loop's body into a global function: it is verified once, for itself
// before 6.4: the verifier gave up after 1000001 instructions
#include "../objects/include/bpf.h"

SEC("xdp")
int too_long(struct xdp_md *context)
{
	u32 sum = 0;

	for (u32 i = 0; i < 1000; i++) {
		// A long body: it is the steps that count, and each round is a state that the verifier compares with those before.
		asm volatile(".rept 2000\n\t%0 += 1\n\t.endr" : "+r"(sum)); // rejected
	}
	return sum ? XDP_DROP : XDP_PASS;
}

LICENSE("GPL");
