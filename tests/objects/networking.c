//! Program types of networking: tc and tcx by their names, sockets, cgroups, socket maps, lookup, tunnels, reuseport.
// programs: on_classifier, on_action, on_tc, sock_filter, cg_ingress, cg_egress, cg_sock, cg_bind4, cg_connect4, cg_device, cg_sysctl
// programs: cg_getsockopt, cg_setsockopt, on_sockops, parser, verdict, msg, lookup, on_lwt_in, on_lwt_out, on_lwt_xmit, lwt_local, reuse, dissect
#include "include/bpf.h"

SEC("classifier") int on_classifier(struct __sk_buff *skb) { return 0; }
SEC("action") int on_action(struct __sk_buff *skb) { return 0; }
SEC("tc") int on_tc(struct __sk_buff *skb) { return 0; }
SEC("socket") int sock_filter(struct __sk_buff *skb) { return 0; }
SEC("cgroup_skb/ingress") int cg_ingress(struct __sk_buff *skb) { return 1; }
SEC("cgroup_skb/egress") int cg_egress(struct __sk_buff *skb) { return 1; }
SEC("cgroup/sock_create") int cg_sock(void *sock) { return 1; }
SEC("cgroup/bind4") int cg_bind4(void *address) { return 1; }
SEC("cgroup/connect4") int cg_connect4(void *address) { return 1; }
SEC("cgroup/dev") int cg_device(void *device) { return 1; }
SEC("cgroup/sysctl") int cg_sysctl(void *sysctl) { return 1; }
SEC("cgroup/getsockopt") int cg_getsockopt(void *option) { return 1; }
SEC("cgroup/setsockopt") int cg_setsockopt(void *option) { return 1; }
SEC("sockops") int on_sockops(void *ops) { return 1; }
SEC("sk_skb/stream_parser") int parser(struct __sk_buff *skb) { return skb->len; }
SEC("sk_skb/stream_verdict") int verdict(struct __sk_buff *skb) { return 1; }
SEC("sk_msg") int msg(void *message) { return 1; }
SEC("sk_lookup") int lookup(void *sock) { return 1; }
SEC("lwt_in") int on_lwt_in(struct __sk_buff *skb) { return 0; }
SEC("lwt_out") int on_lwt_out(struct __sk_buff *skb) { return 0; }
SEC("lwt_xmit") int on_lwt_xmit(struct __sk_buff *skb) { return 0; }
SEC("lwt_seg6local") int lwt_local(struct __sk_buff *skb) { return 0; }
SEC("sk_reuseport") int reuse(void *reuse) { return 1; }
SEC("flow_dissector") int dissect(struct __sk_buff *skb) { return 0; }

LICENSE("GPL");
