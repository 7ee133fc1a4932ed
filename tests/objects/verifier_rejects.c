//! What the verifier refuses most often, a program each; the error says in words why.
// fails: unbounded: infinite loop
// fails: null: invalid mem access
// fails: stack: stack
// fails: helper: no helper with the number 9999
// fails: uninitialised: !read_ok
// programs: fine
// libbpf: failed to load
#include "include/bpf.h"

struct {
	UINT(type, HASH);
	UINT(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, u64);
} map SEC(".maps");

HELPER(9999, long, no_such_helper, void);

SEC("xdp")
int fine(struct xdp_md *context)
{
	return XDP_PASS;
}

SEC("xdp")
int unbounded(struct xdp_md *context)
{
	volatile u32 i = 0;

	for (;;)
		i = i + 1;
	return XDP_PASS;
}

SEC("xdp")
int null(struct xdp_md *context)
{
	u32 key = 0;
	u64 *value = map_lookup(&map, &key);

	return *value;
}

SEC("xdp")
int stack(struct xdp_md *context)
{
	u64 key;

	__asm__ volatile("%0 = *(u64 *)(r10 - 600)" : "=r"(key));
	return key;
}

SEC("xdp")
int helper(struct xdp_md *context)
{
	return no_such_helper();
}

SEC("xdp")
int uninitialised(struct xdp_md *context)
{
	u64 value;

	__asm__ volatile("%0 = r7" : "=r"(value));
	return value;
}

LICENSE("GPL");
