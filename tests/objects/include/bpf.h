//! What the C sources of this folder share, so that neither libbpf's headers nor the kernel's are needed: the macros that
//! make maps and sections, the helpers and constants in use, and the little that programs touch of the kernel's structs.
//! Numbers are those of include/uapi/linux/bpf.h.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char s8;
typedef short s16;
typedef int s32;
typedef long long s64;
typedef _Bool bool;

#define NULL ((void *)0)

// Sections and attributes.
#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#define WEAK __attribute__((weak))
#define HIDDEN __attribute__((visibility("hidden")))
#define PACKED __attribute__((packed))
#define KSYM __attribute__((section(".ksyms")))
#define KCONFIG __attribute__((section(".kconfig")))
#define TAG(text) __attribute__((btf_decl_tag(text)))
#define TYPE_TAG(text) __attribute__((btf_type_tag(text)))
#define LICENSE(text) char _license[] SEC("license") = text

// Members of a map's definition.
#define UINT(name, value) int(*name)[value]
#define TYPE(name, value) __typeof__(value) *name
#define ARRAY(name, value) __typeof__(value) *name[]
#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)
// A number of 64 bits, which an array's length cannot hold: an enum's value does.
#define ULONG(name, value) \
	enum { JOIN(ulong_value_, __LINE__) = value } name

enum map_type {
	HASH = 1,
	ARRAY_MAP,
	PROG_ARRAY,
	PERF_EVENT_ARRAY,
	PERCPU_HASH,
	PERCPU_ARRAY,
	STACK_TRACE,
	CGROUP_ARRAY,
	LRU_HASH,
	LRU_PERCPU_HASH,
	LPM_TRIE,
	ARRAY_OF_MAPS,
	HASH_OF_MAPS,
	DEVMAP,
	SOCKMAP,
	CPUMAP,
	XSKMAP,
	SOCKHASH,
	CGROUP_STORAGE,
	REUSEPORT_SOCKARRAY,
	PERCPU_CGROUP_STORAGE,
	QUEUE,
	STACK,
	SK_STORAGE,
	DEVMAP_HASH,
	STRUCT_OPS,
	RINGBUF,
	INODE_STORAGE,
	TASK_STORAGE,
	BLOOM_FILTER,
	USER_RINGBUF,
	CGRP_STORAGE,
	ARENA,
};

enum map_flag {
	F_NO_PREALLOC = 1 << 0,
	F_NO_COMMON_LRU = 1 << 1,
	F_NUMA_NODE = 1 << 2,
	F_RDONLY_PROG = 1 << 7,
	F_MMAPABLE = 1 << 10,
};

enum pinning { PIN_NONE, PIN_BY_NAME };

enum xdp_action { XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT };

enum { BPF_ANY, BPF_NOEXIST, BPF_EXIST };
#define F_CURRENT_CPU 0xffffffffull

// Contexts.
struct xdp_md {
	u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};

struct __sk_buff {
	u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto, priority;
	u32 ingress_ifindex, ifindex, tc_index, cb[5], hash, tc_classid, data, data_end, napi_id, family;
};

// Helpers. A call to a constant address becomes `call NUMBER`.
#define HELPER(number, result, name, ...) static result (*const name)(__VA_ARGS__) __attribute__((unused)) = (void *)number

HELPER(1, void *, map_lookup, void *map, const void *key);
HELPER(2, long, map_update, void *map, const void *key, const void *value, u64 flags);
HELPER(3, long, map_delete, void *map, const void *key);
HELPER(4, long, probe_read, void *to, u32 size, const void *from);
HELPER(5, u64, ktime_get_ns, void);
HELPER(6, long, trace_printk, const char *format, u32 size, ...);
HELPER(7, u32, get_prandom_u32, void);
HELPER(8, u32, get_smp_processor_id, void);
HELPER(12, long, tail_call, void *context, void *map, u32 index);
HELPER(14, u64, get_current_pid_tgid, void);
HELPER(23, long, redirect, u32 ifindex, u64 flags);
HELPER(25, long, perf_event_output, void *context, void *map, u64 flags, void *data, u64 size);
HELPER(26, long, skb_load_bytes, const void *skb, u32 offset, void *to, u32 size);
HELPER(27, long, get_stackid, void *context, void *map, u64 flags);
HELPER(44, long, xdp_adjust_head, void *context, int delta);
HELPER(51, long, redirect_map, void *map, u64 key, u64 flags);
HELPER(52, long, sk_redirect_map, void *skb, void *map, u32 key, u64 flags);
HELPER(53, long, sock_map_update, void *ops, void *map, void *key, u64 flags);
HELPER(60, long, msg_redirect_map, void *msg, void *map, u32 key, u64 flags);
HELPER(71, long, msg_redirect_hash, void *msg, void *map, void *key, u64 flags);
HELPER(81, void *, get_local_storage, void *map, u64 flags);
HELPER(82, long, sk_select_reuseport, void *reuse, void *map, void *key, u64 flags);
HELPER(84, void *, sk_lookup_tcp, void *context, void *tuple, u32 size, u64 netns, u64 flags);
HELPER(86, long, sk_release, void *sock);
HELPER(87, long, map_push, void *map, const void *value, u64 flags);
HELPER(88, long, map_pop, void *map, void *value);
HELPER(89, long, map_peek, void *map, void *value);
HELPER(93, long, spin_lock, void *lock);
HELPER(94, long, spin_unlock, void *lock);
HELPER(107, void *, sk_storage_get, void *map, void *sk, void *value, u64 flags);
HELPER(113, long, probe_read_kernel, void *to, u32 size, const void *from);
HELPER(118, u64, jiffies64, void);
HELPER(130, long, ringbuf_output, void *ringbuf, void *data, u64 size, u64 flags);
HELPER(131, void *, ringbuf_reserve, void *ringbuf, u64 size, u64 flags);
HELPER(132, void, ringbuf_submit, void *data, u64 flags);
HELPER(133, void, ringbuf_discard, void *data, u64 flags);
HELPER(145, void *, inode_storage_get, void *map, void *inode, void *value, u64 flags);
HELPER(148, long, copy_from_user, void *to, u32 size, const void *from);
HELPER(153, void *, per_cpu_ptr, const void *variable, u32 cpu);
HELPER(154, void *, this_cpu_ptr, const void *variable);
HELPER(156, void *, task_storage_get, void *map, void *task, void *value, u64 flags);
HELPER(158, void *, get_current_task_btf, void);
HELPER(164, long, for_each_map_elem, void *map, void *callback, void *context, u64 flags);
HELPER(165, long, snprintf, char *text, u32 size, const char *format, u64 *data, u32 data_size);
HELPER(169, long, timer_init, void *timer, void *map, u64 flags);
HELPER(170, long, timer_set_callback, void *timer, void *callback);
HELPER(171, long, timer_start, void *timer, u64 ns, u64 flags);
HELPER(181, long, loop, u32 count, void *callback, void *context, u64 flags);
HELPER(194, void *, kptr_xchg, void *slot, void *pointer);
HELPER(197, long, dynptr_from_mem, void *data, u32 size, u64 flags, void *dynptr);
HELPER(198, long, ringbuf_reserve_dynptr, void *ringbuf, u32 size, u64 flags, void *dynptr);
HELPER(199, void, ringbuf_submit_dynptr, void *dynptr, u64 flags);
HELPER(202, long, dynptr_write, void *dynptr, u32 offset, void *from, u32 size, u64 flags);
HELPER(209, long, user_ringbuf_drain, void *map, void *callback, void *context, u64 flags);
HELPER(210, void *, cgrp_storage_get, void *map, void *cgroup, void *value, u64 flags);

// Compile once, run everywhere: the compiler leaves a note of the access, and the loader fills in what this kernel says
// (Documentation/bpf/llvm_reloc.rst; the numbers are enum bpf_core_relo_kind's, which clang spells as below).
#define CORE __attribute__((preserve_access_index))
#define field_offset(field) __builtin_preserve_field_info(field, 0)
#define field_size(field) __builtin_preserve_field_info(field, 1)
#define field_exists(field) __builtin_preserve_field_info(field, 2)
#define field_signed(field) __builtin_preserve_field_info(field, 3)
#define field_left_shift(field) __builtin_preserve_field_info(field, 4)
#define field_right_shift(field) __builtin_preserve_field_info(field, 5)
#define type_exists(type) __builtin_preserve_type_info(*(__typeof__(type) *)0, 0)
#define type_size(type) __builtin_preserve_type_info(*(__typeof__(type) *)0, 1)
#define type_matches(type) __builtin_preserve_type_info(*(__typeof__(type) *)0, 2)
#define type_id_local(type) __builtin_btf_type_id(*(__typeof__(type) *)0, 0)
#define type_id_kernel(type) __builtin_btf_type_id(*(__typeof__(type) *)0, 1)
#define enum_exists(type, value) __builtin_preserve_enum_value(*(__typeof__(type) *)value, 0)
#define enum_value(type, value) __builtin_preserve_enum_value(*(__typeof__(type) *)value, 1)
