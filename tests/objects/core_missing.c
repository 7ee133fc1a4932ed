//! CO-RE of a field that this kernel lacks, read without asking first: the program fails with the reason and the candidates,
//! and one that only reads it behind a check loads.
// programs: asks
// fails: reads: xdplb_no_such_field
// libbpf: failed to load
#include "include/bpf.h"

struct task_struct {
	int pid;
	int xdplb_no_such_field;
} CORE;

u64 seen;

SEC("raw_tp/sched_switch")
int asks(u64 *context)
{
	struct task_struct *task = (void *)context[1];
	int value = 0;

	if (field_exists(task->xdplb_no_such_field))
		probe_read_kernel(&value, sizeof(value), &task->xdplb_no_such_field);
	seen = value;
	return 0;
}

SEC("raw_tp/sched_switch")
int reads(u64 *context)
{
	struct task_struct *task = (void *)context[1];
	int value = 0;

	probe_read_kernel(&value, sizeof(value), &task->xdplb_no_such_field);
	seen = value;
	return 0;
}

LICENSE("GPL");
