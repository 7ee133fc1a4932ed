//! Section names that begin with a type's word and go on as their author liked.
// programs: echo, hook, filter, drop
// libbpf: failed to guess program type
#include "include/bpf.h"

SEC("xdp_icmp_echo") int echo(struct xdp_md *context) { return XDP_PASS; }
SEC("xdp/hook") int hook(struct xdp_md *context) { return XDP_PASS; }
SEC("classifier_ingress") int filter(struct __sk_buff *skb) { return 0; }
SEC("xdp-drop") int drop(struct xdp_md *context) { return XDP_DROP; }

LICENSE("GPL");
