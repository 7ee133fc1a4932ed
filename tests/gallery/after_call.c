//! An argument is taken from a register that the call before it did not keep.
// says: R2 is read, but holds nothing on this path (a call leaves nothing in R1 to R5)
// try: keep what is needed after a call in a variable: R6 to R9 and the stack outlast it
#include "../objects/include/bpf.h"

SEC("xdp")
int after_call(struct xdp_md *context)
{
	u64 value;

	asm volatile("call 7\n%0 = r2" : "=r"(value) : : "r0", "r1", "r2", "r3", "r4", "r5"); // rejected
	return value ? XDP_PASS : XDP_DROP;
}

LICENSE("GPL");
