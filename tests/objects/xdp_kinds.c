//! The kinds of XDP programs: plain, with fragments, and those behind device and CPU maps, with fragments too.
// programs: plain, frags, devmap, cpumap, devmap_frags, cpumap_frags
// since: 5.18 = xdp.frags
#include "include/bpf.h"

SEC("xdp") int plain(struct xdp_md *context) { return XDP_PASS; }
SEC("xdp.frags") int frags(struct xdp_md *context) { return XDP_PASS; }
SEC("xdp/devmap") int devmap(struct xdp_md *context) { return XDP_PASS; }
SEC("xdp/cpumap") int cpumap(struct xdp_md *context) { return XDP_PASS; }
SEC("xdp.frags/devmap") int devmap_frags(struct xdp_md *context) { return XDP_PASS; }
SEC("xdp.frags/cpumap") int cpumap_frags(struct xdp_md *context) { return XDP_PASS; }

LICENSE("GPL");
