//! A loop waits for a number that nothing in it changes.
// says: a path came back to instruction 3 with nothing changed: the loop would never end
// try: let a counter with a constant bound end the loop
#include "../objects/include/bpf.h"

SEC("xdp")
int endless(struct xdp_md *context)
{
	volatile u32 ready = 0;

	while (!ready) // rejected
		;
	return XDP_PASS;
}

LICENSE("GPL");
