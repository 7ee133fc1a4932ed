//! A replacement for another program's function: what it replaces is in no file, so it cannot be loaded by itself.
// programs: pass
// fails: instead: freplace
// libbpf: failed to load
#include "include/bpf.h"

SEC("freplace/handle") int instead(struct xdp_md *context) { return XDP_PASS; }
SEC("xdp") int pass(struct xdp_md *context) { return XDP_PASS; }

LICENSE("GPL");
