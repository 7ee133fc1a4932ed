//! Calls across sections: from a program to a function in a section of its own, and from there to `.text` and back.
// builds: g = -g, plain =
// programs: main_program
// libbpf: is static and not supported
#include "include/bpf.h"

static NOINLINE int twice(int x)
{
	return x * 2 + 1;
}

static NOINLINE SEC(".text.cold") int cold(int x)
{
	return twice(x) ^ 7;
}

static NOINLINE int shared(int x)
{
	return cold(x) + 3;
}

SEC("xdp")
int main_program(struct xdp_md *context)
{
	return shared(context->rx_queue_index) + cold(context->ingress_ifindex) ? XDP_PASS : XDP_DROP;
}

LICENSE("GPL");
