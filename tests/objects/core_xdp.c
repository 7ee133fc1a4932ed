//! CO-RE in an XDP program: the packet's context as the kernel sees it.
// programs: look
// since: 6.2 = bpf_cast_to_kern_ctx
#include "include/bpf.h"

struct net_device {
	int ifindex;
	unsigned int mtu;
} CORE;

struct xdp_rxq_info {
	struct net_device *dev;
	u32 queue_index;
} CORE;

struct xdp_buff {
	void *data;
	struct xdp_rxq_info *rxq;
} CORE;

extern void *bpf_cast_to_kern_ctx(void *) KSYM;

u64 seen;

SEC("xdp")
int look(struct xdp_md *context)
{
	struct xdp_buff *buff = bpf_cast_to_kern_ctx(context);

	seen = buff->rxq->queue_index + buff->rxq->dev->ifindex;
	return XDP_PASS;
}

LICENSE("GPL");
