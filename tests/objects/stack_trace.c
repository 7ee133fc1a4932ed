//! Stack traces and per-CPU values, as a profiler has them.
// programs: sample
// maps: stacks: stack_trace 4 1016 64, counts: percpu_hash 8 8 256
#include "include/bpf.h"

struct key {
	u32 pid;
	int stack;
};

struct {
	UINT(type, STACK_TRACE);
	UINT(max_entries, 64);
	UINT(key_size, 4);
	UINT(value_size, 127 * 8);
} stacks SEC(".maps");

struct {
	UINT(type, PERCPU_HASH);
	UINT(max_entries, 256);
	TYPE(key, struct key);
	TYPE(value, u64);
} counts SEC(".maps");

SEC("perf_event")
int sample(void *context)
{
	struct key key = { get_current_pid_tgid() >> 32, get_stackid(context, &stacks, 0) };
	u64 one = 1, *count = map_lookup(&counts, &key);

	if (count)
		++*count;
	else
		map_update(&counts, &key, &one, BPF_NOEXIST);
	return 0;
}

LICENSE("GPL");
