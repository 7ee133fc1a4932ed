//! A socket is looked up and not given back on one of the paths.
// says: what bpf_sk_lookup_tcp gave (instruction 12) is not given back on this path
// try: call bpf_sk_release on every path
#include "../objects/include/bpf.h"

struct tuple {
	u32 from, to;
	u16 source, dest;
};

SEC("xdp")
int socket_kept(struct xdp_md *context)
{
	struct tuple tuple = {1, 2, 3, 4};
	void *sock = sk_lookup_tcp(context, &tuple, sizeof(tuple), -1, 0);

	if (!sock)
		return XDP_PASS;
	if (context->rx_queue_index)
		return XDP_DROP;
	sk_release(sock);
	return XDP_PASS;
} // rejected

LICENSE("GPL");
