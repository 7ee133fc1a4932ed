//! Every map type that Linux 5.10 has and that a definition alone can make; each is created, the program uses two.
// programs: touch
// maps: a_hash: hash 4 8 8, a_array: array 4 8 8, a_perf: perf_event_array 4 4 *, a_pchash: percpu_hash 4 8 8
// maps: a_pcarray: percpu_array 4 8 8, a_stacks: stack_trace 4 1016 8, a_cgroups: cgroup_array 4 4 8, a_lru: lru_hash 4 8 8
// maps: a_pclru: lru_percpu_hash 4 8 8, a_trie: lpm_trie 8 4 8, a_devs: devmap 4 4 8, a_devhash: devmap_hash 4 8 8
// maps: a_socks: sockmap 4 4 8, a_sockhash: sockhash 4 8 8, a_cpus: cpumap 4 4 *, a_xsks: xskmap 4 4 8
// maps: a_reuse: reuseport_sockarray 4 8 8, a_queue: queue 0 4 8, a_stack: stack 0 4 8, a_sk: sk_storage 4 8 0
// maps: a_ring: ringbuf 0 0 4096, a_cgstore: cgroup_storage 16 8 0, a_pccgstore: percpu_cgroup_storage 16 8 0
// maps: a_progs: prog_array 4 4 8
#include "include/bpf.h"

struct storage_key {
	u64 cgroup;
	u32 attach_type;
};

struct prefix {
	u32 bits, address;
};

#define MAP(name, kind, key_t, value_t, n) \
	struct { UINT(type, kind); UINT(max_entries, n); TYPE(key, key_t); TYPE(value, value_t); } name SEC(".maps")
#define MAP_F(name, kind, flags, key_t, value_t, n) \
	struct { UINT(type, kind); UINT(max_entries, n); UINT(map_flags, flags); TYPE(key, key_t); TYPE(value, value_t); } name SEC(".maps")
#define MAP_S(name, kind, k, v, n) \
	struct { UINT(type, kind); UINT(max_entries, n); UINT(key_size, k); UINT(value_size, v); } name SEC(".maps")

MAP(a_hash, HASH, u32, u64, 8);
MAP(a_array, ARRAY_MAP, u32, u64, 8);
MAP_S(a_progs, PROG_ARRAY, 4, 4, 8);
MAP_S(a_perf, PERF_EVENT_ARRAY, 4, 4, 0);
MAP(a_pchash, PERCPU_HASH, u32, u64, 8);
MAP(a_pcarray, PERCPU_ARRAY, u32, u64, 8);
MAP_S(a_stacks, STACK_TRACE, 4, 127 * 8, 8);
MAP_S(a_cgroups, CGROUP_ARRAY, 4, 4, 8);
MAP(a_lru, LRU_HASH, u32, u64, 8);
MAP(a_pclru, LRU_PERCPU_HASH, u32, u64, 8);
MAP_F(a_trie, LPM_TRIE, F_NO_PREALLOC, struct prefix, u32, 8);
MAP_S(a_devs, DEVMAP, 4, 4, 8);
MAP_S(a_devhash, DEVMAP_HASH, 4, 8, 8);
MAP_S(a_socks, SOCKMAP, 4, 4, 8);
MAP_S(a_sockhash, SOCKHASH, 4, 8, 8);
MAP_S(a_cpus, CPUMAP, 4, 4, 2);
MAP_S(a_xsks, XSKMAP, 4, 4, 8);
MAP_S(a_reuse, REUSEPORT_SOCKARRAY, 4, 8, 8);
MAP_S(a_queue, QUEUE, 0, 4, 8);
MAP_S(a_stack, STACK, 0, 4, 8);
MAP_F(a_sk, SK_STORAGE, F_NO_PREALLOC, int, u64, 0);
MAP_S(a_ring, RINGBUF, 0, 0, 4096);
MAP(a_cgstore, CGROUP_STORAGE, struct storage_key, u64, 0);
MAP(a_pccgstore, PERCPU_CGROUP_STORAGE, struct storage_key, u64, 0);

SEC("xdp")
int touch(struct xdp_md *context)
{
	u32 key = 1;

	return map_lookup(&a_hash, &key) && map_lookup(&a_array, &key) ? XDP_DROP : XDP_PASS;
}

LICENSE("GPL");
