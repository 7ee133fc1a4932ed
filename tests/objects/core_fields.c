//! CO-RE of fields: offset, size, existence, signedness; nested members, an array's element, a member of an anonymous union.
// programs: look
#include "include/bpf.h"

struct list_head {
	struct list_head *next, *prev;
} CORE;

struct task_struct {
	int pid;
	int tgid;
	char comm[16];
	struct task_struct *real_parent;
	struct list_head tasks;
	int xdplb_no_such_field;
} CORE;

struct sk_buff {
	union {
		struct {
			struct sk_buff *next, *prev;
		};
	};
	u32 len;
} CORE;

u64 seen;

SEC("raw_tp/sched_switch")
int look(u64 *context)
{
	struct task_struct *task = (void *)context[1], *parent = NULL;
	struct list_head *next = NULL;
	struct sk_buff *skb = NULL;
	int pid = 0;
	char letter = 0;

	probe_read_kernel(&pid, sizeof(pid), &task->pid);
	probe_read_kernel(&letter, sizeof(letter), &task->comm[2]);
	probe_read_kernel(&parent, sizeof(parent), &task->real_parent);
	probe_read_kernel(&next, sizeof(next), &task->tasks.next);
	seen = pid + letter + (parent != NULL) + (next != NULL);
	seen += field_size(task->comm) + field_offset(task->tgid) + field_signed(task->pid) + field_offset(skb->prev);
	if (field_exists(task->xdplb_no_such_field))
		probe_read_kernel(&pid, sizeof(pid), &task->xdplb_no_such_field);
	return 0;
}

LICENSE("GPL");
