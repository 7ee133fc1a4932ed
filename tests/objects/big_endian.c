//! The same program for the other byte order: refused, and the error says that it is big-endian.
// builds: be = -g -target bpfeb
// refused: big-endian
// libbpf: endianness mismatch
#include "include/bpf.h"

SEC("xdp")
int pass(struct xdp_md *context)
{
	return XDP_PASS;
}

LICENSE("GPL");
