//! DEVMAP and CPUMAP whose entries run programs: values of 8 bytes, and programs of the attach types `devmap` and `cpumap`.
// programs: forward, on_device, on_cpu
// maps: devices: devmap 4 8 8, by_name: devmap_hash 4 8 8, cpus: cpumap 4 8 *
#include "include/bpf.h"

struct target {
	u32 index;
	int program;
};

struct {
	UINT(type, DEVMAP);
	UINT(max_entries, 8);
	TYPE(key, u32);
	TYPE(value, struct target);
} devices SEC(".maps");

struct {
	UINT(type, DEVMAP_HASH);
	UINT(max_entries, 8);
	TYPE(key, u32);
	TYPE(value, struct target);
} by_name SEC(".maps");

struct {
	UINT(type, CPUMAP);
	UINT(max_entries, 2);
	TYPE(key, u32);
	TYPE(value, struct target);
} cpus SEC(".maps");

SEC("xdp")
int forward(struct xdp_md *context)
{
	if (context->rx_queue_index == 1)
		return redirect_map(&cpus, 0, XDP_PASS);
	if (context->rx_queue_index == 2)
		return redirect_map(&by_name, 7, XDP_PASS);
	return redirect_map(&devices, 0, XDP_PASS);
}

SEC("xdp/devmap")
int on_device(struct xdp_md *context)
{
	return context->egress_ifindex ? XDP_PASS : XDP_DROP;
}

SEC("xdp/cpumap")
int on_cpu(struct xdp_md *context)
{
	return XDP_PASS;
}

LICENSE("GPL");
