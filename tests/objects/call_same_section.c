//! A static function in the program's own section, behind the program and before it.
// programs: main_program
// libbpf: is static and not supported
#include "include/bpf.h"

static NOINLINE SEC("xdp") int before(int x)
{
	return x + 3;
}

static int behind(int x);

SEC("xdp")
int main_program(struct xdp_md *context)
{
	return before(context->rx_queue_index) + behind(context->ingress_ifindex) ? XDP_PASS : XDP_DROP;
}

static NOINLINE SEC("xdp") int behind(int x)
{
	return x * 5;
}

LICENSE("GPL");
