//! A field of the context is written to that can only be read.
// says: the context of xdp programs has no field of size 4 at offset 0 that may be written
// try: write only to fields that the type's documentation names as writable
#include "../objects/include/bpf.h"

SEC("xdp")
int context_written(struct xdp_md *context)
{
	*(volatile u32 *)&context->data = 0; // rejected
	return XDP_PASS;
}

LICENSE("GPL");
