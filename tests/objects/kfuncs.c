//! Calls of kernel functions (kfuncs) by their types in the kernel's BTF; a weak one that no kernel has is not called.
// programs: lock
// differs: the number in the call that is never made is the loader's own
// since: 6.2 = bpf_rcu_read_lock
#include "include/bpf.h"

extern void bpf_rcu_read_lock(void) KSYM;
extern void bpf_rcu_read_unlock(void) KSYM;
extern int bpf_xdplb_no_such_function(int) KSYM WEAK;

SEC("tc")
int lock(struct __sk_buff *skb)
{
	int result = 0;

	bpf_rcu_read_lock();
	if (bpf_xdplb_no_such_function)
		result = bpf_xdplb_no_such_function(1);
	bpf_rcu_read_unlock();
	return result;
}

LICENSE("GPL");
