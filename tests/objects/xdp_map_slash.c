//! The older names of the programs behind maps: `xdp_devmap/…` and `xdp_cpumap/…`.
// programs: devmap, cpumap
// libbpf: failed to guess program type
#include "include/bpf.h"

SEC("xdp_devmap/out") int devmap(struct xdp_md *context) { return context->egress_ifindex ? XDP_PASS : XDP_DROP; }
SEC("xdp_cpumap/in") int cpumap(struct xdp_md *context) { return XDP_PASS; }

LICENSE("GPL");
