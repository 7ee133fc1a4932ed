//! CO-RE against a type that this kernel lacks, in a branch that is not taken: the verifier never gets there.
// programs: look
#include "include/bpf.h"

struct xdplb_no_such_type {
	int value;
} CORE;

u64 seen;

SEC("raw_tp/sys_enter")
int look(u64 *context)
{
	struct xdplb_no_such_type *nothing = (void *)context[0];
	int value = 0;

	if (type_exists(struct xdplb_no_such_type))
		probe_read_kernel(&value, sizeof(value), &nothing->value);
	seen = value;
	return 0;
}

LICENSE("GPL");
