//! A helper that may sleep is called from a program that may not.
// says: the helper can sleep, and this program is not declared to
// try: declare it sleepable: SEC("fentry.s/…"), SEC("lsm.s/…") or SEC("uprobe.s/…")
// before 6.12: kprobe programs may not call bpf_copy_from_user, at least on this kernel
#include "../objects/include/bpf.h"

SEC("uprobe")
int sleeps(void *registers)
{
	u32 value = 0;

	copy_from_user(&value, sizeof(value), (void *)8); // rejected
	return value;
}

LICENSE("GPL");
