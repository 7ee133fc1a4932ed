//! An iterator is begun and not destroyed.
// says: what bpf_iter_num_new gave (instruction 4) is not given back on this path
// try: call bpf_iter_num_destroy on every path
// before 6.4: this kernel's types have no function `bpf_iter_num_new`
#include "../objects/include/bpf.h"

struct bpf_iter_num {
	u64 : 64;
} __attribute__((aligned(8)));

extern int bpf_iter_num_new(struct bpf_iter_num *, int, int) KSYM;

SEC("xdp")
int iterator_open(struct xdp_md *context)
{
	struct bpf_iter_num numbers;

	bpf_iter_num_new(&numbers, 0, 10);
	return XDP_PASS; // rejected
}

LICENSE("GPL");
