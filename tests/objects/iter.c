//! An iterator: its section names what is gone through.
// programs: tasks
#include "include/bpf.h"

SEC("iter/task") int tasks(void *context) { return 0; }

LICENSE("GPL");
