//! A helper for packets of the network stack is called from XDP, which comes before them.
// says: xdp programs may not call bpf_skb_load_bytes, at least on this kernel
// try: take a helper that this type has (bpf-helpers(7)), or a program of a type that has this one
#include "../objects/include/bpf.h"

SEC("xdp")
int wrong_helper(struct xdp_md *context)
{
	u8 first = 0;

	skb_load_bytes(context, 0, &first, 1); // rejected
	return first ? XDP_DROP : XDP_PASS;
}

LICENSE("GPL");
