//! An arena: pages that program and user space share, addressed by pointers of their own address space.
// programs: fill
// maps: pages: arena 0 0 16
// since: 6.9 = arena
// libbpf: arena
#include "include/bpf.h"

#define IN_ARENA __attribute__((address_space(1)))

extern void IN_ARENA *bpf_arena_alloc_pages(void *map, void IN_ARENA *address, u32 pages, int node, u64 flags) KSYM WEAK;

struct {
	UINT(type, ARENA);
	UINT(map_flags, F_MMAPABLE);
	UINT(max_entries, 16);
} pages SEC(".maps");

SEC("syscall")
int fill(void *context)
{
	u64 IN_ARENA *page = bpf_arena_alloc_pages(&pages, NULL, 1, -1, 0);

	if (!page)
		return 1;
	page[0] = 42;
	return 0;
}

LICENSE("GPL");
