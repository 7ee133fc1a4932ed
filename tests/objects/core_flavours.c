//! CO-RE of flavours: `task_struct___old` is task_struct to the kernel; what only one of them has is asked for first.
// programs: look
#include "include/bpf.h"

struct task_struct {
	unsigned int __state;
} CORE;

struct task_struct___old {
	long state;
} CORE;

struct task_struct___never {
	int xdplb_no_such_field;
} CORE;

u64 seen;

SEC("raw_tp/sched_switch")
int look(u64 *context)
{
	struct task_struct *task = (void *)context[1];
	struct task_struct___old *old = (void *)task;
	struct task_struct___never *never = (void *)task;
	u64 state = 0;

	if (field_exists(task->__state))
		probe_read_kernel(&state, sizeof(task->__state), &task->__state);
	else if (field_exists(old->state))
		probe_read_kernel(&state, sizeof(old->state), &old->state);
	else if (field_exists(never->xdplb_no_such_field))
		probe_read_kernel(&state, sizeof(int), &never->xdplb_no_such_field);
	seen = state;
	return 0;
}

LICENSE("GPL");
