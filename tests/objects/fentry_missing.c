//! A program at a function that no kernel has: an error that names it, and the other program loads.
// programs: pass
// fails: before: xdplb_no_such_function
// libbpf: xdplb_no_such_function
#include "include/bpf.h"

SEC("fentry/xdplb_no_such_function") int before(u64 *context) { return 0; }
SEC("xdp") int pass(struct xdp_md *context) { return XDP_PASS; }

LICENSE("GPL");
