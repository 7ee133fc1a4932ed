//! Socket maps and storage: a hash of sockets that messages are redirected by, and a value kept beside a socket.
// programs: established, redirect_message, created
// maps: peers: sockhash 4 4 64, notes: sk_storage 4 8 0
#include "include/bpf.h"

struct {
	UINT(type, SOCKHASH);
	UINT(max_entries, 64);
	TYPE(key, u32);
	TYPE(value, int);
} peers SEC(".maps");

struct {
	UINT(type, SK_STORAGE);
	UINT(map_flags, F_NO_PREALLOC);
	TYPE(key, int);
	TYPE(value, u64);
} notes SEC(".maps");

HELPER(70, long, sock_hash_update, void *ops, void *map, void *key, u64 flags);

SEC("sockops")
int established(u32 *ops)
{
	u32 key = ops[0];

	if (key == 4 || key == 5)
		sock_hash_update(ops, &peers, &key, BPF_ANY);
	return 1;
}

SEC("sk_msg")
int redirect_message(void *message)
{
	u32 key = 4;

	return msg_redirect_hash(message, &peers, &key, 0);
}

SEC("cgroup/sock_create")
int created(void *sock)
{
	sk_storage_get(&notes, sock, NULL, 1);
	return 1;
}

LICENSE("GPL");
