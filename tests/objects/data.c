//! Global data: `.data`, `.bss`, `.rodata`, their named variants, and a string section that the compiler makes.
// options: --set limit=9
// programs: count
// maps: .data.limits: array 4 * 1, .rodata.names: array 4 * 1
// since: 5.13 = snprintf
#include "include/bpf.h"

const volatile u32 limit = 7;
u32 start = 3;
u64 total;
u32 upper SEC(".data.limits") = 100;
const volatile char name[8] SEC(".rodata.names") = "name";

SEC("xdp")
int count(struct xdp_md *context)
{
	char text[16];
	u64 value = start;

	snprintf(text, sizeof(text), "start %d", &value, sizeof(value));
	if (name[0] == 'n' && start++ < limit && start < upper)
		__sync_fetch_and_add(&total, 1);
	return text[0] == 's' ? XDP_PASS : XDP_DROP;
}

LICENSE("GPL");
