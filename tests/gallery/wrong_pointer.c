//! The start of the header is compared with the end of the packet: that one byte of it is there remains unsaid.
// says: byte 23 is accessed, and the comparison with data_end on this path covers 14 bytes
// try: leave first if `data + 24 > data_end`
#include "../objects/include/bpf.h"

struct ipv4 {
	u8 length, service;
	u16 total, id, fragment;
	u8 ttl, protocol;
};

SEC("xdp")
int wrong_pointer(struct xdp_md *context)
{
	u8 *data = (void *)(long)context->data;
	u8 *end = (void *)(long)context->data_end;
	struct ipv4 *ip = (void *)(data + 14);

	if ((void *)ip > (void *)end)
		return XDP_PASS;
	if (ip->protocol == 6) // rejected
		return XDP_DROP;
	return XDP_PASS;
}

LICENSE("GPL");
