//! Security hooks: by name, and one that may sleep.
// programs: opened, sleepy
// machine: opened, sleepy
#include "include/bpf.h"

SEC("lsm/file_open") int opened(u64 *context) { return 0; }
SEC("lsm.s/bprm_committed_creds") int sleepy(u64 *context) { return 0; }

LICENSE("GPL");
