//! `.kconfig` externs: the kernel's version, a number, a switch as tristate and as bool, a string, and weak ones that no
//! configuration has.
// programs: look
#include "include/bpf.h"

enum libbpf_tristate { TRI_NO, TRI_YES, TRI_MODULE };

extern int LINUX_KERNEL_VERSION KCONFIG;
extern u32 CONFIG_HZ KCONFIG;
extern enum libbpf_tristate CONFIG_NET KCONFIG;
extern bool CONFIG_BPF_SYSCALL KCONFIG;
extern char CONFIG_DEFAULT_HOSTNAME[32] KCONFIG;
extern bool CONFIG_XDPLB_NO_SUCH_SWITCH KCONFIG WEAK;
extern u64 CONFIG_XDPLB_NO_SUCH_NUMBER KCONFIG WEAK;

SEC("xdp")
int look(struct xdp_md *context)
{
	if (LINUX_KERNEL_VERSION < (5 << 16) || !CONFIG_HZ || CONFIG_NET == TRI_NO || !CONFIG_BPF_SYSCALL)
		return XDP_ABORTED;
	if (CONFIG_XDPLB_NO_SUCH_SWITCH || CONFIG_XDPLB_NO_SUCH_NUMBER)
		return XDP_ABORTED;
	return CONFIG_DEFAULT_HOSTNAME[0] ? XDP_PASS : XDP_DROP;
}

LICENSE("GPL");
