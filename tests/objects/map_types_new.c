//! The map types that came after Linux 5.10, up to cgroup local storage (6.2); arenas have a source of their own.
// programs: touch
// maps: a_inode: inode_storage 4 8 0, a_task: task_storage 4 8 0, a_bloom: bloom_filter 0 4 8
// maps: a_user: user_ringbuf 0 0 4096, a_cgrp: cgrp_storage 4 8 0
// since: 6.2 = cgrp_storage
#include "include/bpf.h"

#define LOCAL(name, kind) \
	struct { UINT(type, kind); UINT(map_flags, F_NO_PREALLOC); TYPE(key, int); TYPE(value, u64); } name SEC(".maps")

LOCAL(a_inode, INODE_STORAGE);
LOCAL(a_task, TASK_STORAGE);
LOCAL(a_cgrp, CGRP_STORAGE);

struct {
	UINT(type, BLOOM_FILTER);
	UINT(max_entries, 8);
	TYPE(value, u32);
} a_bloom SEC(".maps");

struct {
	UINT(type, USER_RINGBUF);
	UINT(max_entries, 4096);
} a_user SEC(".maps");

SEC("xdp")
int touch(struct xdp_md *context)
{
	u32 value = 1;

	return map_push(&a_bloom, &value, 0) ? XDP_DROP : XDP_PASS;
}

LICENSE("GPL");
