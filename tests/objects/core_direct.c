//! CO-RE of direct reads: a trusted pointer's members, by loads of 4 and 8 bytes whose width the kernel's field decides.
// programs: look
#include "include/bpf.h"

struct mm_struct {
	long total_vm;
} CORE;

struct task_struct {
	int pid, tgid;
	unsigned long start_time;
	struct mm_struct *mm;
} CORE;

u64 seen;

SEC("tp_btf/sched_switch")
int look(u64 *context)
{
	struct task_struct *task = (void *)context[1];

	seen = task->pid + task->start_time;
	if (task->mm)
		seen += task->mm->total_vm;
	return 0;
}

LICENSE("GPL");
