//! A function of the kernel is called that only programs of another type may call.
// says: xdp programs may not call the kernel's function bpf_dynptr_from_skb
// try: look for a helper or another function that does the same, or move the call into a program of a type that may
// before 6.4: this kernel's types have no function `bpf_dynptr_from_skb`
#include "../objects/include/bpf.h"

struct bpf_dynptr {
	u64 : 64;
	u64 : 64;
} __attribute__((aligned(8)));

extern int bpf_dynptr_from_skb(struct __sk_buff *, u64, struct bpf_dynptr *) KSYM;

SEC("xdp")
int kfunc_elsewhere(struct xdp_md *context)
{
	struct bpf_dynptr packet;

	return bpf_dynptr_from_skb((void *)context, 0, &packet) ? XDP_DROP : XDP_PASS; // rejected
}

LICENSE("GPL");
