//! The least there is: one XDP program, no maps.
// builds: g = -g, plain =
// programs: pass
#include "include/bpf.h"

SEC("xdp")
int pass(struct xdp_md *context)
{
	return XDP_PASS;
}

LICENSE("GPL");
