//! One program that the verifier refuses among two that it takes.
// programs: before, behind
// fails: bad: invalid access to packet
// libbpf: failed to load
#include "include/bpf.h"

SEC("xdp")
int before(struct xdp_md *context)
{
	return XDP_PASS;
}

SEC("xdp")
int bad(struct xdp_md *context)
{
	return *(u8 *)(long)context->data ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int behind(struct xdp_md *context)
{
	return XDP_DROP;
}

LICENSE("GPL");
