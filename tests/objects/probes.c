//! Probes of the kernel's functions and of programs': kprobe, kretprobe, uprobe, uretprobe, ksyscall, usdt.
// programs: kp, kr, up, ur
#include "include/bpf.h"

SEC("kprobe/do_nanosleep") int kp(void *context) { return 0; }
SEC("kretprobe/do_nanosleep") int kr(void *context) { return 0; }
SEC("uprobe//bin/true:main") int up(void *context) { return 0; }
SEC("uretprobe//bin/true:main") int ur(void *context) { return 0; }

LICENSE("GPL");
