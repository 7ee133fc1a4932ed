//! A section name that says nothing (`prog`): the user says what the program is.
// options: --type xdp
// programs: entry
// libbpf: failed to guess program type
#include "include/bpf.h"

SEC("prog")
int entry(struct xdp_md *context)
{
	return context->ingress_ifindex ? XDP_PASS : XDP_DROP;
}

LICENSE("GPL");
