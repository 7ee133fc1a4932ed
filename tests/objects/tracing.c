//! Program types of tracing that name their place only when attached: tracepoints, raw and plain, writable, perf events.
// programs: point, raw, raw_long, writable, sample
#include "include/bpf.h"

SEC("tracepoint/sched/sched_switch") int point(void *context) { return 0; }
SEC("raw_tp/sched_switch") int raw(u64 *context) { return context[0] != 0; }
SEC("raw_tracepoint/sys_enter") int raw_long(u64 *context) { return 0; }
SEC("raw_tp.w/sched_switch") int writable(u64 *context) { return 0; }
SEC("perf_event") int sample(void *context) { return 0; }

LICENSE("GPL");
