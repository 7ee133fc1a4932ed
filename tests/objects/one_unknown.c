//! One program of a type that nobody knows among two that are known.
// programs: before, behind
// fails: odd: --type odd=
// libbpf: failed to guess program type
#include "include/bpf.h"

SEC("xdp")
int before(struct xdp_md *context)
{
	return XDP_PASS;
}

SEC("something/else")
int odd(void *context)
{
	return 0;
}

SEC("tc")
int behind(struct __sk_buff *skb)
{
	return 0;
}

LICENSE("GPL");
