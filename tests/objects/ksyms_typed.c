//! `.ksyms` externs of variables with their types: one for each CPU, and a weak one that no kernel has.
// programs: look
// machine: look
// since: 5.10 = typed ksyms
#include "include/bpf.h"

extern const int bpf_prog_active KSYM;
extern const int xdplb_no_such_variable KSYM WEAK;

u64 active;

SEC("raw_tp/sys_enter")
int look(void *context)
{
	const int *count = this_cpu_ptr(&bpf_prog_active);

	active = *count;
	if (&xdplb_no_such_variable)
		active = -1;
	return 0;
}

LICENSE("GPL");
