//! A timer in a map's value, and its callback.
// programs: start
// maps: clocks: array 4 24 1
// since: 5.15 = callback
#include "include/bpf.h"

struct bpf_timer {
	u64 : 64;
	u64 : 64;
} __attribute__((aligned(8)));

struct clock {
	struct bpf_timer timer;
	u64 rung;
};

struct {
	UINT(type, ARRAY_MAP);
	UINT(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, struct clock);
} clocks SEC(".maps");

static int ring(void *map, u32 *key, struct clock *clock)
{
	clock->rung++;
	return 0;
}

SEC("tc")
int start(struct __sk_buff *skb)
{
	u32 key = 0;
	struct clock *clock = map_lookup(&clocks, &key);

	if (!clock)
		return 0;
	timer_init(&clock->timer, &clocks, 1 /* CLOCK_MONOTONIC */);
	timer_set_callback(&clock->timer, ring);
	timer_start(&clock->timer, 1000000, 0);
	return 0;
}

LICENSE("GPL");
