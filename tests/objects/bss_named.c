//! A named variant of `.bss`: zeros that take no room in the file, in a map of their own.
// programs: count
// since: 5.12 = fetching atomics
// maps: .bss.late: array 4 8 1
// libbpf: bad map relo against 'later'
#include "include/bpf.h"

u64 later SEC(".bss.late");

SEC("xdp")
int count(struct xdp_md *context)
{
	return __sync_fetch_and_add(&later, 1) ? XDP_PASS : XDP_DROP;
}

LICENSE("GPL");
