//! CO-RE of enum values: existence and value, of an enum that no kernel has, too; and one of 64 bits.
// programs: look
#include "include/bpf.h"

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 100,
	BPF_MAP_TYPE_RINGBUF = 101,
	BPF_MAP_TYPE_XDPLB_NO_SUCH = 102,
};

enum xdplb_no_such_enum {
	XDPLB_NO_SUCH_VALUE = 1,
};

u64 seen[4];

SEC("raw_tp/sys_enter")
int look(u64 *context)
{
	seen[0] = enum_value(enum bpf_map_type, BPF_MAP_TYPE_RINGBUF);
	seen[1] = enum_exists(enum bpf_map_type, BPF_MAP_TYPE_HASH);
	seen[2] = enum_exists(enum bpf_map_type, BPF_MAP_TYPE_XDPLB_NO_SUCH);
	seen[3] = enum_exists(enum xdplb_no_such_enum, XDPLB_NO_SUCH_VALUE);
	return 0;
}

LICENSE("GPL");
