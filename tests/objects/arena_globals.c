//! Global variables in an arena: section `.addr_space.1`, which user space would have to fill through the arena's mapping.
//! Not supported: the program that refers to one says so.
// fails: count: counter
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
