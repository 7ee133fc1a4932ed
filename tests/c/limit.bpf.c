// The limit of the bench through namespaces: the least that a balancer at XDP can do for real connections.
//
// One client, two servers, and all that is known of them is in the instructions: no map, no state, no look at flags or lengths. A
// client's packet goes to the server that a bit of its port names, a server's to the client; both get the balancer's own
// address and MAC, which the packet came to, as their source. Checksums take the constant difference of the two addresses
// that change (RFC 1624). One that its sender left undone stays so, which only a socket buffer can say: in generic mode.
//
//   clang -O2 -g -target bpf -mcpu=v3 -c limit.bpf.c

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

enum { XDP_PASS = 2, XDP_TX = 3, TCP = 6, IP_HEADER = 20 };

// 1 where senders leave TCP's sum undone. Frozen before the program is loaded: at 0 the verifier takes the question out.
const volatile u32 undone;

struct context {
	u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};

// A whole frame's headers, without options, in words that are aligned wherever IP's are.
struct frame {
	u16 to[3], from[3];
	u16 type;
	u8 version_ihl, tos;
	u16 length, id, fragment;
	u8 ttl, protocol;
	u16 check;
	u16 saddr[2], daddr[2];
	u16 sport, dport;
	u32 seq, ack;
	u16 flags, window, tcp_check;
} __attribute__((packed, aligned(2)));

// tests/src/bin/xdplb-bench/through/net.rs: host N is 10.0.0.N with the MAC de:ad:be:ef:00:N, as words in memory.
#define HALF(a, b) ((u16)((a) | (b) << 8))
enum {
	CLIENT = 1,
	SERVER = 2, // and 3
	NET = HALF(10, 0),
	MAC_0 = HALF(0xde, 0xad),
	MAC_1 = HALF(0xbe, 0xef),
};

INLINE u16 fold(u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

INLINE u16 add(u16 check, u32 difference)
{
	return ~fold((u16)~check + difference);
}

// A sum that was left undone is the pseudo-header's, not inverted.
INLINE u16 pseudo_header(const struct frame *frame)
{
	u16 length = __builtin_bswap16(__builtin_bswap16(frame->length) - IP_HEADER);

	return fold(frame->saddr[0] + frame->saddr[1] + frame->daddr[0] + frame->daddr[1] + HALF(0, TCP) + length);
}

SEC("xdp")
int limit(struct context *context)
{
	struct frame *frame = (void *)(long)context->data;

	if ((void *)(frame + 1) > (void *)(long)context->data_end || frame->type != HALF(8, 0) ||
	    frame->protocol != TCP)
		return XDP_PASS;

	u16 from = frame->saddr[1], to;

	if (from == HALF(0, CLIENT))
		to = HALF(0, SERVER) + ((frame->sport & HALF(0, 2)) >> 1);
	else
		to = HALF(0, CLIENT);

	// Source S and balancer L become L and destination D: the sum changes by D - S. Their first words are the same.
	u32 difference = (u32)to + (u16)~from;

	frame->check = add(frame->check, difference);
	if (undone && frame->tcp_check == pseudo_header(frame))
		frame->tcp_check = fold(frame->tcp_check + difference);
	else
		frame->tcp_check = add(frame->tcp_check, difference);
	frame->from[0] = frame->to[0];
	frame->from[1] = frame->to[1];
	frame->from[2] = frame->to[2];
	frame->to[0] = MAC_0;
	frame->to[1] = MAC_1;
	frame->to[2] = to;
	frame->saddr[0] = frame->daddr[0];
	frame->saddr[1] = frame->daddr[1];
	frame->daddr[0] = NET;
	frame->daddr[1] = to;
	return XDP_TX;
}

char gpl[] SEC("license") = "GPL";
