//! Programs at a function of the kernel: before it, behind it, instead of its result; the section names the function.
// programs: before, behind, instead
// machine: before, behind, instead
#include "include/bpf.h"

struct file;

SEC("fentry/vfs_open")
int before(u64 *context)
{
	return 0;
}

SEC("fexit/vfs_open")
int behind(u64 *context)
{
	return 0;
}

SEC("fmod_ret/security_file_open")
int instead(u64 *context)
{
	return context[1];
}

LICENSE("GPL");
