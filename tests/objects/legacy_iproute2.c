//! Maps in a legacy section `maps` as iproute2 lays them out: structs of 9 words (its `struct bpf_elf_map`), with an id and
//! a pinning of their own meaning.
// programs: count
// maps: packets: array 4 8 1
// libbpf: legacy map definitions
#include "include/bpf.h"

struct bpf_elf_map {
	u32 type, size_key, size_value, max_elem, flags, id, pinning, inner_id, inner_idx;
};

struct bpf_elf_map packets SEC("maps") = { ARRAY_MAP, 4, 8, 1, 0, 7, 0, 0, 0 };

SEC("classifier")
int count(struct __sk_buff *skb)
{
	u32 key = 0;
	u64 *value = map_lookup(&packets, &key);

	if (value)
		__sync_fetch_and_add(value, 1);
	return 0;
}

LICENSE("GPL");
