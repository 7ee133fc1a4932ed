//! Atomic instructions that return what was there: fetch-and-add, exchange, compare-and-exchange.
// programs: exchange
// since: 5.12 = fetching atomics
#include "include/bpf.h"

u64 a = 1, b = 2;

SEC("xdp")
int exchange(struct xdp_md *context)
{
	u64 old = __sync_fetch_and_add(&a, 1) + __sync_fetch_and_or(&b, 4);

	old += __sync_lock_test_and_set(&a, 9);
	old += __sync_val_compare_and_swap(&b, 9, 10);
	return old ? XDP_PASS : XDP_DROP;
}

LICENSE("GPL");
