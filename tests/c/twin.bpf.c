// The yardstick of the benchmark: what the tutorial's balancer does for a packet, and no more.
//
// One client, two backends, no flows, no ports, no TCP checksum: hash the connection with
// xxHash32, look the backend up, rewrite four addresses, sum the IP header anew, transmit.
// It stands on its own (no libbpf headers): clang -O2 -g -target bpf -mcpu=v3 -c twin.bpf.c

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

enum { MAP_ARRAY = 2, XDP_PASS = 2, XDP_TX = 3, TCP = 6, HEADER = 20 };

struct context {
	u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};

struct ethernet {
	u8 to[6], from[6];
	u16 type;
} __attribute__((packed));

struct ipv4 {
	u8 version_ihl, tos;
	u16 length, id, fragment;
	u8 ttl, protocol;
	u16 check;
	u32 from, to;
};

struct ports {
	u16 from, to;
};

struct backend {
	u32 ip;
	u8 mac[6];
};

struct {
	int (*type)[MAP_ARRAY];
	int (*max_entries)[2];
	u32 *key;
	struct backend *value;
} backends SEC(".maps");

static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static long (*csum_diff)(void *from, u32 from_size, void *to, u32 to_size, u32 seed) = (void *)28;

volatile u32 client_ip, balancer_ip;
volatile u8 client_mac[6], balancer_mac[6];

INLINE u32 rotate(u32 x, u32 by)
{
	return x << by | x >> (32 - by);
}

// xxHash32 of 16 bytes.
INLINE u32 hash(const u32 w[4])
{
	const u32 p1 = 0x9E3779B1, p2 = 0x85EBCA77, p3 = 0xC2B2AE3D;
	u32 h = rotate(rotate(p1 + p2 + w[0] * p2, 13) * p1, 1) + rotate(rotate(p2 + w[1] * p2, 13) * p1, 7) +
		rotate(rotate(w[2] * p2, 13) * p1, 12) + rotate(rotate(0 - p1 + w[3] * p2, 13) * p1, 18) + 16;

	h = (h ^ h >> 15) * p2;
	h = (h ^ h >> 13) * p3;
	return h ^ h >> 16;
}

INLINE void set_mac(u8 *to, volatile u8 *from)
{
	for (int i = 0; i < 6; i++)
		to[i] = from[i];
}

SEC("xdp")
int twin(struct context *context)
{
	void *end = (void *)(long)context->data_end;
	struct ethernet *ethernet = (void *)(long)context->data;
	struct ipv4 *ip = (void *)(ethernet + 1);
	struct ports *ports = (void *)(ip + 1);

	if ((void *)(ports + 1) > end || ethernet->type != 0x0008 || ip->protocol != TCP)
		return XDP_PASS;

	if (ip->from == client_ip) {
		u32 connection[4] = { ip->from, ip->to, ports->from | (u32)ports->to << 16, TCP };
		u32 key = hash(connection) % 2;
		struct backend *backend = map_lookup(&backends, &key);

		if (!backend)
			return XDP_PASS;
		ip->to = backend->ip;
		set_mac(ethernet->to, backend->mac);
	} else {
		ip->to = client_ip;
		set_mac(ethernet->to, client_mac);
	}
	ip->from = balancer_ip;
	set_mac(ethernet->from, balancer_mac);

	ip->check = 0;
	u64 sum = csum_diff(0, 0, (void *)ip, HEADER, 0);
	for (int i = 0; i < 4; i++)
		sum = (sum & 0xffff) + (sum >> 16);
	ip->check = ~sum;
	return XDP_TX;
}

char gpl[] SEC("license") = "GPL";
