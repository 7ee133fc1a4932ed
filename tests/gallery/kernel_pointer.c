//! A pointer of the kernel is followed as if it were the program's own memory.
// says: R1 is used as an address, but is a number to the verifier: kernel and user memory cannot be read directly here
// try: read it with bpf_probe_read_kernel or bpf_probe_read_user (or BPF_CORE_READ)
#include "../objects/include/bpf.h"

struct pt_regs {
	u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
};

SEC("kprobe/vfs_read")
int kernel_pointer(struct pt_regs *registers)
{
	u32 *file = (void *)registers->di;

	return *file ? 1 : 0; // rejected
}

LICENSE("GPL");
