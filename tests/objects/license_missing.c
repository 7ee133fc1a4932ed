//! No license at all, and a helper that only GPL programs may call: refused by the verifier, with the reason.
// programs: plain
// fails: gpl: GPL
// libbpf: failed to load
#include "include/bpf.h"

SEC("xdp")
int plain(struct xdp_md *context)
{
	return XDP_PASS;
}

SEC("xdp")
int gpl(struct xdp_md *context)
{
	return trace_printk("x", 2);
}
