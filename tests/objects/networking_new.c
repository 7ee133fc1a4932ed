//! Program types of networking that came later: tcx, netkit, netfilter, more cgroup hooks for Unix sockets.
// programs: ingress, egress, primary, peer, filter, unix_connect
// since: 6.7 = netfilter
// libbpf: failed to guess program type
#include "include/bpf.h"

SEC("tcx/ingress") int ingress(struct __sk_buff *skb) { return 0; }
SEC("tcx/egress") int egress(struct __sk_buff *skb) { return 0; }
SEC("netkit/primary") int primary(struct __sk_buff *skb) { return 0; }
SEC("netkit/peer") int peer(struct __sk_buff *skb) { return 0; }
SEC("netfilter") int filter(void *context) { return 1; }
SEC("cgroup/connect_unix") int unix_connect(void *address) { return 1; }

LICENSE("GPL");
