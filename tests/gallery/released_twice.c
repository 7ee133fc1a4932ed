//! A socket is given back twice.
// says: argument 1 was a pointer until bpf_sk_release was called, which makes it worthless
// try: use it before bpf_sk_release, and give it back once on each path
#include "../objects/include/bpf.h"

struct tuple {
	u32 from, to;
	u16 source, dest;
};

SEC("xdp")
int released_twice(struct xdp_md *context)
{
	struct tuple tuple = {1, 2, 3, 4};
	void *sock = sk_lookup_tcp(context, &tuple, sizeof(tuple), -1, 0);

	if (!sock)
		return XDP_PASS;
	sk_release(sock);
	sk_release(sock); // rejected
	return XDP_PASS;
}

LICENSE("GPL");
