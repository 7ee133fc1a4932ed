//! Several programs in one section, one of them twice as long as the others.
// builds: g = -g, plain =
// programs: first, second, third
#include "include/bpf.h"

SEC("xdp")
int first(struct xdp_md *context)
{
	return XDP_PASS;
}

SEC("xdp")
int second(struct xdp_md *context)
{
	u8 *data = (u8 *)(long)context->data, *end = (u8 *)(long)context->data_end;

	if (data + 14 > end)
		return XDP_ABORTED;
	return data[12] == 8 ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int third(struct xdp_md *context)
{
	return XDP_DROP;
}

LICENSE("GPL");
