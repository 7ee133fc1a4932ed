//! License and version sections, and others that say nothing to a loader: notes, comments, a section nobody knows.
// programs: pass
#include "include/bpf.h"

const char note[] SEC(".note.xdplb") = "a note";
const u32 extra SEC("metadata") = 7;

SEC("xdp")
int pass(struct xdp_md *context)
{
	return XDP_PASS;
}

u32 _version SEC("version") = 0x60100;
LICENSE("Dual BSD/GPL");
