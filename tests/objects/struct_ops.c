//! A struct of operations for the kernel: congestion control, whose functions are programs of their own. They are loaded;
//! the struct is not registered.
// programs: ssthresh, undo, avoid
#include "include/bpf.h"

struct sock;

struct tcp_congestion_ops {
	u32 (*ssthresh)(struct sock *);
	void (*cong_avoid)(struct sock *, u32, u32);
	u32 (*undo_cwnd)(struct sock *);
	char name[16];
};

SEC("struct_ops/ssthresh") int ssthresh(u64 *context) { return 2; }
SEC("struct_ops/avoid") int avoid(u64 *context) { return 0; }
SEC("struct_ops/undo") int undo(u64 *context) { return 2; }

SEC(".struct_ops")
struct tcp_congestion_ops xdplb_set = {
	.ssthresh = (void *)ssthresh,
	.cong_avoid = (void *)avoid,
	.undo_cwnd = (void *)undo,
	.name = "xdplb_set",
};

LICENSE("GPL");
