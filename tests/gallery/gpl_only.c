//! A helper for GPL-compatible programs is called from one that says otherwise.
// says: the helper is for programs under a GPL-compatible license, and the object's license section names no such license
// try: name one, if that is what it is: `GPL`, `Dual MIT/GPL`, `Dual BSD/GPL`
#include "../objects/include/bpf.h"

SEC("xdp")
int gpl_only(struct xdp_md *context)
{
	static const char format[] = "seen";

	trace_printk(format, sizeof(format)); // rejected
	return XDP_PASS;
}

LICENSE("Proprietary");
