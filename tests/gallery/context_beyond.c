//! The context is read behind its last field.
// says: the context of xdp programs has no field of size 4 at offset 64 that may be read
// try: read its fields by name and whole, from its struct in linux/bpf.h
#include "../objects/include/bpf.h"

SEC("xdp")
int context_beyond(struct xdp_md *context)
{
	return *(volatile u32 *)((u8 *)context + 64) ? XDP_DROP : XDP_PASS; // rejected
}

LICENSE("GPL");
