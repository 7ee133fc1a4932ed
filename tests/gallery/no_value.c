//! A function ends without the value that it should return.
// says: the function ends without a return value on this path
// try: return a value on every path
#include "../objects/include/bpf.h"

SEC("xdp")
__attribute__((naked)) int no_value(struct xdp_md *context)
{
	asm volatile("exit"); // rejected
}

LICENSE("GPL");
