//! Global variables in an arena: section `.addr_space.1`, whose bytes go into the arena's last pages through a mapping of it.
// programs: count
// maps: pages: arena 0 0 4
// since: 6.9 = arena
// libbpf: bad map relo against 'counter'
#include "include/bpf.h"

struct {
	UINT(type, ARENA);
	UINT(map_flags, F_MMAPABLE);
	UINT(max_entries, 4);
} pages SEC(".maps");

int __attribute__((address_space(1))) counter = 5;

SEC("syscall")
int count(void *context)
{
	void *use = &pages;

	__asm__ volatile("" : "+r"(use));
	counter++;
	return 0;
}

LICENSE("GPL");
