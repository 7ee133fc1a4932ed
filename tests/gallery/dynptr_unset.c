//! A dynptr is used that nothing has set up.
// says: an argument is no dynptr that a helper has set up, or no longer one
// try: check what bpf_dynptr_from_… returned before the first use
// before 5.19: this kernel has no helper with the number 202
#include "../objects/include/bpf.h"

struct bpf_dynptr {
	u64 : 64;
	u64 : 64;
} __attribute__((aligned(8)));

SEC("xdp")
int dynptr_unset(struct xdp_md *context)
{
	struct bpf_dynptr slot;
	u32 queue = context->rx_queue_index;

	dynptr_write(&slot, 0, &queue, sizeof(queue), 0); // rejected
	return XDP_PASS;
}

LICENSE("GPL");
