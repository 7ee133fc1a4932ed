//! `.ksyms` externs without a type: the addresses of symbols, and a weak one that no kernel has.
// programs: look
#include "include/bpf.h"

extern const void schedule KSYM;
extern const void xdplb_no_such_symbol KSYM WEAK;

u64 address;

SEC("raw_tp/sys_enter")
int look(void *context)
{
	address = (u64)&schedule;
	if (&xdplb_no_such_symbol)
		address = 0;
	return 0;
}

LICENSE("GPL");
