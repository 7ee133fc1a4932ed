//! Two section names that say nothing, and the user says what each program is.
// options: --type first=xdp --type second=tc
// programs: first, second
// libbpf: failed to guess program type
#include "include/bpf.h"

SEC("prog/0")
int first(struct xdp_md *context)
{
	return context->ingress_ifindex ? XDP_PASS : XDP_DROP;
}

SEC("prog/1")
int second(struct __sk_buff *skb)
{
	return skb->len > 64;
}

LICENSE("GPL");
