//! A program that may answer yes or no returns 2.
// says: the value returned at program exit is not always in [0, 1], which is all that cgroup_sock_addr programs may return there
// try: return one of those on every path
#include "../objects/include/bpf.h"

struct bpf_sock_addr;

SEC("cgroup/connect4")
int return_value(struct bpf_sock_addr *context)
{
	return 7; // rejected
}

LICENSE("GPL");
