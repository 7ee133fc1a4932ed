//! CO-RE of types: existence, size, match, ids here and in the kernel; of types that no kernel has, too.
// programs: look
// since: 5.10 = CO-RE of types
#include "include/bpf.h"

struct list_head {
	struct list_head *next, *prev;
};

struct task_struct {
	int pid;
};

struct xdplb_no_such_type {
	int x;
};

typedef unsigned int gfp_t;

u64 seen[8];

SEC("raw_tp/sys_enter")
int look(u64 *context)
{
	seen[0] = type_exists(struct task_struct);
	seen[1] = type_exists(struct xdplb_no_such_type);
	seen[2] = type_size(struct list_head);
	seen[3] = type_size(struct xdplb_no_such_type);
	seen[4] = type_matches(struct list_head) + 2 * type_matches(struct xdplb_no_such_type);
	seen[5] = type_id_local(struct task_struct);
	seen[6] = type_exists(struct task_struct) ? type_id_kernel(struct task_struct) : 0;
	seen[7] = type_exists(gfp_t);
	return 0;
}

LICENSE("GPL");
