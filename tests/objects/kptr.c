//! A kernel pointer (kptr) in a map's value, taken and put by bpf_kptr_xchg and kernel functions.
// programs: keep
// maps: slots: array 4 8 1
// since: 6.7 = bpf_task_from_pid
#include "include/bpf.h"

#define KPTR TYPE_TAG("kptr")

struct task_struct {
	int pid;
} __attribute__((preserve_access_index));

extern struct task_struct *bpf_task_from_pid(s32 pid) KSYM;
extern void bpf_task_release(struct task_struct *task) KSYM;

struct slot {
	struct task_struct KPTR *task;
};

struct {
	UINT(type, ARRAY_MAP);
	UINT(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, struct slot);
} slots SEC(".maps");

SEC("tp_btf/task_newtask")
int keep(u64 *context)
{
	u32 key = 0;
	struct slot *slot = map_lookup(&slots, &key);
	struct task_struct *task, *old;

	if (!slot)
		return 0;
	task = bpf_task_from_pid(1);
	if (!task)
		return 0;
	old = kptr_xchg(&slot->task, task);
	if (old)
		bpf_task_release(old);
	return 0;
}

LICENSE("GPL");
