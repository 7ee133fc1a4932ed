//! A `.ksyms` extern that is not weak and that no kernel has: an error that names it.
// programs: pass
// fails: look: xdplb_no_such_symbol
// libbpf: xdplb_no_such_symbol
#include "include/bpf.h"

extern const void xdplb_no_such_symbol KSYM;

u64 address;

SEC("raw_tp/sys_enter")
int look(void *context)
{
	address = (u64)&xdplb_no_such_symbol;
	return 0;
}

SEC("xdp")
int pass(struct xdp_md *context)
{
	return XDP_PASS;
}

LICENSE("GPL");
