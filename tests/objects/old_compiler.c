//! As an old compiler writes it: clang as the distribution has it, the first instruction set, no types, no global data.
// builds: plain = -mcpu=v1, g = -g -mcpu=v2
// compiler: old
// programs: count
// maps: packets: array 4 8 1
// libbpf: legacy map definitions
#include "include/bpf.h"

struct {
	u32 type, key_size, value_size, max_entries;
} packets SEC("maps") = { ARRAY_MAP, 4, 8, 1 };

SEC("xdp")
int count(struct xdp_md *context)
{
	u32 key = 0;
	u64 *value = map_lookup(&packets, &key);

	if (value)
		__sync_fetch_and_add(value, 1);
	return XDP_PASS;
}

u32 _version SEC("version") = 0x50a00;
LICENSE("GPL");
