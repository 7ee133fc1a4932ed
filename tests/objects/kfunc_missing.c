//! A call of a kernel function that no kernel has: the program that calls it fails by name, the other loads.
// programs: pass
// fails: call: bpf_xdplb_no_such_function
// libbpf: bpf_xdplb_no_such_function
#include "include/bpf.h"

extern int bpf_xdplb_no_such_function(int) KSYM;

SEC("xdp")
int call(struct xdp_md *context)
{
	return bpf_xdplb_no_such_function(1);
}

SEC("xdp")
int pass(struct xdp_md *context)
{
	return XDP_PASS;
}

LICENSE("GPL");
