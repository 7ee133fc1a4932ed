//! A `.kconfig` extern that is not weak and that no configuration has: an error that names it.
// refused: CONFIG_XDPLB_NO_SUCH_SWITCH
// libbpf: CONFIG_XDPLB_NO_SUCH_SWITCH
#include "include/bpf.h"

extern bool CONFIG_XDPLB_NO_SUCH_SWITCH KCONFIG;

SEC("xdp")
int look(struct xdp_md *context)
{
	return CONFIG_XDPLB_NO_SUCH_SWITCH ? XDP_DROP : XDP_PASS;
}

LICENSE("GPL");
