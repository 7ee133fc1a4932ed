//! A large object: 64 programs, 64 maps, functions that all of them call, source lines and types for each.
// programs: p00, p01, p02, p03, p04, p05, p06, p07, p10, p11, p12, p13, p14, p15, p16, p17
// programs: p20, p21, p22, p23, p24, p25, p26, p27, p30, p31, p32, p33, p34, p35, p36, p37
// programs: p40, p41, p42, p43, p44, p45, p46, p47, p50, p51, p52, p53, p54, p55, p56, p57
// programs: p60, p61, p62, p63, p64, p65, p66, p67, p70, p71, p72, p73, p74, p75, p76, p77
#include "include/bpf.h"

struct ethernet {
	u8 to[6], from[6];
	u16 type;
} PACKED;

struct ipv4 {
	u8 version_ihl, tos;
	u16 length, id, fragment;
	u8 ttl, protocol;
	u16 check;
	u32 from, to;
};

static NOINLINE u32 fold(u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static NOINLINE u32 mix(u32 a, u32 b)
{
	for (int i = 0; i < 8; i++)
		a = (a << 5 | a >> 27) * 0x9e3779b1 + (b ^ fold(a));
	return a;
}

#define PROGRAM(n) \
	struct value##n { \
		u64 packets, bytes; \
		u32 last[n + 1]; \
	}; \
	struct { \
		UINT(type, HASH); \
		UINT(max_entries, 64); \
		UINT(map_flags, F_NO_PREALLOC); \
		TYPE(key, u32); \
		TYPE(value, struct value##n); \
	} m##n SEC(".maps"); \
	u64 total##n; \
	SEC("xdp") int p##n(struct xdp_md *context) \
	{ \
		void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end; \
		struct ethernet *ethernet = data; \
		struct ipv4 *ip = (void *)(ethernet + 1); \
		struct value##n *value; \
		u32 key; \
\
		if ((void *)(ip + 1) > end || ethernet->type != 8) \
			return XDP_PASS; \
		key = mix(ip->from, ip->to) + n; \
		value = map_lookup(&m##n, &key); \
		if (!value) { \
			struct value##n first = { 1, end - data, { key } }; \
			map_update(&m##n, &key, &first, BPF_ANY); \
			return XDP_PASS; \
		} \
		value->packets++; \
		value->bytes += end - data; \
		value->last[0] = fold(ip->check); \
		total##n += value->bytes; \
		ip->ttl--; \
		ip->check = fold(ip->check + 1); \
		return value->packets & 1 ? XDP_PASS : XDP_TX; \
	}

#define EIGHT(n) \
	PROGRAM(n##0) PROGRAM(n##1) PROGRAM(n##2) PROGRAM(n##3) PROGRAM(n##4) PROGRAM(n##5) PROGRAM(n##6) PROGRAM(n##7)

EIGHT(0) EIGHT(1) EIGHT(2) EIGHT(3) EIGHT(4) EIGHT(5) EIGHT(6) EIGHT(7)

LICENSE("GPL");
