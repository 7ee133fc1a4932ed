//! CO-RE of bit fields: offset, size and both shifts, as BPF_CORE_READ_BITFIELD_PROBED puts them together.
// programs: look
#include "include/bpf.h"

struct sk_buff {
	u8 pkt_type : 3;
	u8 ignore_df : 1;
	u8 ip_summed : 2;
} CORE;

struct task_struct {
	unsigned int sched_reset_on_fork : 1;
	unsigned int in_execve : 1;
} CORE;

u64 seen;

#define READ(from, field) \
	({ \
		u64 value = 0; \
		probe_read_kernel(&value, field_size((from)->field), (u8 *)(from) + field_offset((from)->field)); \
		value <<= field_left_shift((from)->field); \
		field_signed((from)->field) ? (u64)((s64)value >> field_right_shift((from)->field)) : value >> field_right_shift((from)->field); \
	})

SEC("raw_tp/kfree_skb")
int look(u64 *context)
{
	struct sk_buff *skb = (void *)context[0];

	seen = READ(skb, pkt_type) + READ(skb, ip_summed);
	return 0;
}

LICENSE("GPL");
