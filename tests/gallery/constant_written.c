//! A constant is written to through a pointer that lost its const.
// says: the map is read-only for programs: constants (.rodata), or BPF_F_RDONLY_PROG
// try: declare the variable without const (in Rust: static mut), so that it lies in .data or .bss
#include "../objects/include/bpf.h"

const volatile u32 limit = 10;

SEC("xdp")
int constant_written(struct xdp_md *context)
{
	*(volatile u32 *)&limit = context->rx_queue_index; // rejected
	return limit ? XDP_DROP : XDP_PASS;
}

LICENSE("GPL");
