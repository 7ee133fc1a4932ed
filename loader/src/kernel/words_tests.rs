//! Every row of the table, with a line that a verifier wrote: those without a version are from Linux 6.18, provoked by the
//! programs of loader/tests/rejections.rs.
#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;

/// The program's type, what stood before the reason (the instruction, where it matters), the reason, and our words: the
/// meaning, then ` | ` and the cure.
type Case = (ProgramType, &'static str, &'static str, &'static str);

const XDP: ProgramType = ProgramType::XDP;

#[rustfmt::skip]
const CASES: &[Case] = &[
    (XDP, "1: (71) r0 = *(u8 *)(r1 +23)", "invalid access to packet, off=23 size=1, R1(id=0,off=23,r=0)",
        "byte 23 is accessed, and no comparison with data_end on this path says that the packet has that much | leave first if `data + 24 > data_end`"),
    (XDP, "7: (61) r0 = *(u32 *)(r2 +14)", "invalid access to packet, off=14 size=4, R2(id=0,off=14,r=14)",
        "bytes 14 to 17 are accessed, and the comparison with data_end on this path covers 14 bytes | leave first if `data + 18 > data_end`"),
    (XDP, "8: (71) r0 = *(u8 *)(r2 +5)", "invalid access to packet, off=5 size=1, R2(id=1,off=5,r=0)",
        "byte 5 is accessed behind a variable offset, and no comparison with data_end was made after that was added | after the variable offset was added to p, leave if `p + 6 > data_end`, and read through that p"),
    (XDP, "", "invalid access to packet, off=-2 size=2, R2(id=0,off=-2,r=14)",
        "2 bytes are accessed at offset -2: before what the pointer may reach"),
    (XDP, "", "R0 invalid mem access 'map_value_or_null'",
        "R0 may be NULL here: what the call returned was not compared with NULL on this path | compare it with NULL right after the call (in Rust: `is_null()`), and leave when it is"),
    (XDP, "7: (15) if r0 == 0x0 goto pc+1 ; R0=0\n8: (71) r0 = *(u8 *)(r0 +0)", "R0 invalid mem access 'scalar'",
        "R0 is NULL on this path | leave the path on which it is NULL"),
    (XDP, "", "R1 invalid mem access 'scalar'",
        "R1 is used as an address, but is a number to the verifier: it is not from the context, a map or the stack, or no longer counts since a helper that can move the packet was called"),
    // 5.10
    (ProgramType::KPROBE, "", "R1 invalid mem access 'inv'",
        "R1 is used as an address, but is a number to the verifier: kernel and user memory cannot be read directly here | read it with bpf_probe_read_kernel or bpf_probe_read_user (or BPF_CORE_READ)"),
    (XDP, "", "R2 invalid mem access 'pkt_end'",
        "R2 is used as an address, but a `pkt_end` cannot be read or written through"),
    (XDP, "", "R0 pointer arithmetic on map_value_or_null prohibited, null-check it first",
        "R0 may be NULL here, so nothing can be added to it yet | compare it with NULL right after the call (in Rust: `is_null()`), and leave when it is"),
    (XDP, "", "Possibly NULL pointer passed to trusted arg0",
        "an argument (trusted arg0) may be NULL here, and the function takes none | compare it with NULL right after the call (in Rust: `is_null()`), and leave when it is"),
    (XDP, "", "R0 min value is negative, either use unsigned index or do a if (index >=0) check.",
        "R0 can be negative where it is an offset or a length | make the variable unsigned and bound it right before: `if (i >= MAX) return …`, or `i &= MAX - 1`"),
    (XDP, "", "R2 unbounded memory access, use 'var &= const' or 'if (var < const)'",
        "R2 has no upper bound where it is an offset or a length | make the variable unsigned and bound it right before: `if (i >= MAX) return …`, or `i &= MAX - 1`"),
    (XDP, "10: (0f) r0 += r1 ; R0=map_value(map=values,ks=4,vs=8,smin=0,smax=255)\n11: (71) r0 = *(u8 *)(r0 +0)\ninvalid access to map value, value_size=8 off=255 size=1", "R0 max value is outside of the allowed memory range",
        "an access of size 1 can begin at offset 255, and a map's value has 8 bytes (R0 is an address with a variable part) | make the variable unsigned and bound it right before: `if (i >= MAX) return …`, or `i &= MAX - 1`"),
    (XDP, "", "math between pkt pointer and register with unbounded min value is not allowed",
        "a number that can be negative without limit is added to a `pkt` pointer | make the variable unsigned and bound it right before: `if (i >= MAX) return …`, or `i &= MAX - 1`"),
    (XDP, "", "value 2147483648 makes map_value pointer be out of bounds",
        "the number added to a `map_value` pointer can be too large (2147483648) | make the variable unsigned and bound it right before: `if (i >= MAX) return …`, or `i &= MAX - 1`"),
    (XDP, "", "R2 invalid zero-sized read: u64=[0,7]",
        "the length in R2 can be 0, and the helper takes no empty memory | leave before the call when the length is 0"),
    // 5.10
    (XDP, "", "invalid zero-sized read",
        "the length of the memory that is passed can be 0, and the helper takes no empty memory | leave before the call when the length is 0"),
    // 5.10
    (XDP, "", "R2 unbounded size, use 'var &= const' or 'if (var < const)'",
        "R2 has no upper bound where it is a length | make the variable unsigned and bound it right before: `if (i >= MAX) return …`, or `i &= MAX - 1`"),
    // 7.3
    (XDP, "", "R2 is not a const", "R2 must be one number, known when the program is loaded"),
    (XDP, "", "R2 is not a known constant'",
        "R2 must be one number, known when the program is loaded"),
    (XDP, "", "invalid access to map value, value_size=8 off=8 size=8",
        "an access of size 8 at offset 8 is not inside the map's values of 8 bytes | access the value by the type that the map's definition has for it, or define a larger one"),
    (XDP, "", "invalid access to memory, mem_size=8 off=8 size=1",
        "an access of size 1 at offset 8 is not inside the memory of 8 bytes"),
    (XDP, "", "R2 pointer arithmetic on pkt_end prohibited",
        "nothing can be added to or taken from data_end: it can only be compared with | compare `data + N` with data_end, not data with `data_end - N`"),
    (XDP, "", "R1 pointer arithmetic on map_ptr prohibited",
        "R1 is a `map_ptr`: nothing can be added to it"),
    (XDP, "", "R1 32-bit pointer arithmetic prohibited",
        "R1 is a pointer that went through 32-bit arithmetic, which cuts it in half | keep pointers out of 32-bit integers: `unsigned long`, or usize"),
    (XDP, "", "R1 pointer arithmetic with *= operator prohibited",
        "R1 is a pointer: it can be added to and subtracted from, not changed by `*=`"),
    (XDP, "", "R1 bitwise operator &= on pointer prohibited",
        "R1 is a pointer: it can be added to and subtracted from, not changed by `&=`"),
    (XDP, "", "R2 pointer += pointer prohibited", "two pointers are added"),
    // Without CAP_PERFMON.
    (XDP, "", "R1 pointer comparison prohibited",
        "pointers are compared, which a program loaded without CAP_PERFMON may not do | load it with CAP_PERFMON"),
    (XDP, "", "R0 leaks addr as return value",
        "a pointer would get to where user space can read it, which a program loaded without CAP_PERFMON may not do | load it with CAP_PERFMON"),
    (XDP, "", "same insn cannot be used with different pointers",
        "two paths come to this instruction with pointers of different kinds | access each on its own path, before they join (a compiler barrier keeps them apart)"),
    (XDP, "", "dereference of modified ctx ptr R1 off=4 disallowed",
        "fields of `ctx` are read through the pointer as it came, not through one that was added to | copy the field into a local variable where the function begins"),
    (XDP, "", "variable ctx access var_off=(0x0; 0x4) disallowed",
        "the context is read at an offset that is not a constant | read each field by its name into a local variable, and choose among those"),
    (XDP, "0: (61) r0 = *(u32 *)(r1 +100)", "invalid bpf_context access off=100 size=4",
        "the context of xdp programs has no field of size 4 at offset 100 that may be read | read its fields by name and whole, from its struct in linux/bpf.h"),
    (XDP, "1: (63) *(u32 *)(r1 +0) = r2", "invalid bpf_context access off=0 size=4",
        "the context of xdp programs has no field of size 4 at offset 0 that may be written | write only to fields that the type's documentation names as writable"),
    (XDP, "", "BPF_ATOMIC stores into R1 pkt is not allowed",
        "an atomic instruction works on a map's value, not through a `pkt` pointer | count in a map's value; in the packet, read, add and write are enough: no other CPU has it"),
    // 5.10
    (XDP, "", "BPF_XADD stores into R1 pkt is not allowed",
        "an atomic instruction works on a map's value, not through a `pkt` pointer | count in a map's value; in the packet, read, add and write are enough: no other CPU has it"),
    // A machine without cheap unaligned access.
    (XDP, "", "misaligned packet access off 0+(0x0; 0x0)+14+2 size 4",
        "an access of size 4 to the packet is not at a multiple of its size | declare the struct packed, so that the compiler reads it in pieces"),
    (XDP, "", "misaligned stack access off 0+0+-12 size 8",
        "an access of size 8 (stack) is not at a multiple of its size"),
    (XDP, "", "frame pointer is read only", "R10, the frame pointer, is written to"),
    (XDP, "", "combined stack size of 2 calls is 608. Too large",
        "a path of 2 calls needs 608 bytes of stack together; there are 512 | keep large variables in a map, such as a per-CPU array with one entry, instead of on the stack"),
    (XDP, "", "invalid write to stack R10 off=-520 size=8",
        "a write of size 8 at offset -520 from the frame pointer is outside of the stack's 512 bytes | keep large variables in a map, such as a per-CPU array with one entry, instead of on the stack"),
    (XDP, "", "invalid read from stack R10 off=8 size=8",
        "a read of size 8 at offset 8 from the frame pointer is outside of the stack's 512 bytes"),
    (XDP, "", "invalid read from stack R2 off=-4 size=8",
        "8 bytes are read at offset -4 from the frame pointer, where the stack has 4 left: the variable that is passed is smaller | pass a variable of the size that the map's key or value has, or that the call is told"),
    // 5.12 to 6.12
    (XDP, "", "invalid indirect access to stack R2 off=-4 size=8",
        "8 bytes are read at offset -4 from the frame pointer, where the stack has 4 left: the variable that is passed is smaller | pass a variable of the size that the map's key or value has, or that the call is told"),
    // 5.10
    (XDP, "", "invalid stack type R2 off=-4 access_size=8",
        "8 bytes are read at offset -4 from the frame pointer, where the stack has 4 left: the variable that is passed is smaller | pass a variable of the size that the map's key or value has, or that the call is told"),
    (XDP, "", "invalid unbounded variable-offset write to stack R2",
        "the stack is accessed at an offset (R2) that has no bounds | make the variable unsigned and bound it right before: `if (i >= MAX) return …`, or `i &= MAX - 1`"),
    (XDP, "", "invalid variable-offset write to stack R2 var_off=(0x0; 0xff) off=-16 size=1",
        "the stack is accessed at an offset (R2) that can be outside of the variable | make the variable unsigned and bound it right before: `if (i >= MAX) return …`, or `i &= MAX - 1`"),
    // 5.10
    (XDP, "", "variable stack access var_off=(0x0; 0xffffffff) off=-16 size=1",
        "the stack is accessed at an offset that is not a constant | take a constant index on each path, or keep the array in a map: this kernel has no such access to the stack"),
    // 5.10
    (XDP, "", "invalid stack off=-520 size=8",
        "an access of size 8 at offset -520 from the frame pointer is outside of the stack's 512 bytes | keep large variables in a map, such as a per-CPU array with one entry, instead of on the stack"),
    // 5.12 to 6.2
    (XDP, "", "invalid indirect read from stack R2 off -16+4 size 16",
        "bytes of the stack are read that nothing was written to on this path, perhaps the padding between fields | set the whole variable to zero before its fields (memset; in Rust: zeroed)"),
    (XDP, "", "invalid read from stack off -8+0 size 8",
        "bytes of the stack are read that nothing was written to on this path, perhaps the padding between fields | set the whole variable to zero before its fields (memset; in Rust: zeroed)"),
    (XDP, "0: (95) exit", "R0 !read_ok",
        "the function ends without a return value on this path | return a value on every path"),
    (XDP, "0: (bf) r6 = r0", "R0 !read_ok", "R0 is read, but holds nothing on this path"),
    (XDP, "0: (bf) r0 = r3", "R3 !read_ok",
        "R3 is read, but holds nothing on this path (a call leaves nothing in R1 to R5) | keep what is needed after a call in a variable: R6 to R9 and the stack outlast it"),
    (XDP, "", "back-edge from insn 3 to 0",
        "instruction 3 jumps back to 0: without CAP_BPF, and before Linux 5.3, a program cannot loop | load it with CAP_BPF, or unroll the loop"),
    (XDP, "", "infinite loop detected at insn 2",
        "a path came back to instruction 2 with nothing changed: the loop would never end | let a counter with a constant bound end the loop"),
    (XDP, "", "BPF program is too large. Processed 1000001 insn",
        "the verifier gave up after 1000001 instructions along all paths; loops and branches multiply what the program has | bound loops by small constants, use bpf_loop (Linux 5.17), or move a loop's body into a global function: it is verified once, for itself"),
    (XDP, "", "The sequence of 8193 jumps is too complex.",
        "the verifier gave up with 8193 branches still to follow | bound loops by small constants, use bpf_loop (Linux 5.17), or move a loop's body into a global function: it is verified once, for itself"),
    (XDP, "", "the call stack of 9 frames is too deep !",
        "functions call each other more than 8 deep, or in a circle"),
    (XDP, "", "unreachable insn 2",
        "no path leads to instruction 2: the verifier takes no code that can't run"),
    (XDP, "", "jump out of range from insn 1 to 102", "instruction 1 jumps out of its function"),
    (XDP, "", "last insn is not an exit or jmp",
        "the function runs past its end: it has a path that doesn't return, which a compiler makes of undefined behaviour or a panic"),
    (XDP, "", "invalid func unknown#195896080",
        "a CO-RE relocation found nothing in this kernel that fits; the instruction was replaced by one that must not be reached | ask first: bpf_core_field_exists, bpf_core_type_exists"),
    (XDP, "", "invalid func unknown#9999",
        "this kernel has no helper with the number 9999: it is older than the program"),
    // 5.10
    (XDP, "", "unknown func bpf_probe_write_user#36",
        "xdp programs may not call bpf_probe_write_user, at least on this kernel | take a helper that this type has (bpf-helpers(7)), or a program of a type that has this one"),
    (XDP, "", "program of this type cannot use helper bpf_override_return#58",
        "xdp programs may not call bpf_override_return, at least on this kernel | take a helper that this type has (bpf-helpers(7)), or a program of a type that has this one"),
    (XDP, "", "cannot call GPL-restricted function from non-GPL compatible program",
        "the helper is for programs under a GPL-compatible license, and the object's license section names no such license | name one, if that is what it is: `GPL`, `Dual MIT/GPL`, `Dual BSD/GPL`"),
    (XDP, "", "cannot pass map_type 2 into func bpf_redirect_map#51",
        "bpf_redirect_map does not work on maps of the type array"),
    (XDP, "", "expected prog array map for tail call",
        "bpf_tail_call works on maps of the type prog_array only | define the map with the type BPF_MAP_TYPE_PROG_ARRAY"),
    // 5.10
    (XDP, "3: (85) call bpf_tail_call#12", "kernel subsystem misconfigured verifier",
        "bpf_tail_call works on maps of the type prog_array only | define the map with the type BPF_MAP_TYPE_PROG_ARRAY"),
    (XDP, "3: (85) call bpf_other#12", "kernel subsystem misconfigured verifier",
        "the helper does not work on what is passed to it"),
    // 7.3
    (ProgramType::KPROBE, "", "sleepable helper bpf_copy_from_user#148 in non-sleepable prog",
        "the helper can sleep, and this program is not declared to | declare it sleepable: SEC(\"fentry.s/…\"), SEC(\"lsm.s/…\") or SEC(\"uprobe.s/…\")"),
    // 7.3
    (XDP, "", "Expected an initialized dynptr as R1",
        "an argument is no dynptr that a helper has set up, or no longer one | check what bpf_dynptr_from_… returned before the first use"),
    // 5.10
    (XDP, "10: (b7) r1 = 0\n11: (79) r2 = *(u64 *)(r1 +0)", "R1 invalid mem access 'inv'",
        "R1 is NULL on this path | leave the path on which it is NULL"),
    (XDP, "", "Global function g() doesn't return scalar. Only those are supported.\nCaller passes invalid args into func#1 ('g')",
        "g() is global, so it is verified for itself and must return an integer | make it static (in Rust: don't export it)"),
    (XDP, "", "R1 type=ctx expected=fp\nCaller passes invalid args into func#1 ('h')",
        "a global function is verified for itself, by its BTF prototype, and this call passes something else | make it static (in Rust: don't export it): it is then verified with what is passed"),
    (XDP, "", "arg#0 expected pointer to ctx, but got PTR",
        "an argument of a global function is declared as the context, and gets PTR"),
    (XDP, "", "R1 type=scalar expected=map_ptr",
        "argument 1 of the call must be a map, and is a number"),
    (XDP, "", "R2 type=map_value_or_null expected=fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_",
        "argument 2 of the call must be the address of memory: a local variable, packet bytes that were checked, a map's value, and is a pointer to a map's value, or NULL | compare it with NULL right after the call (in Rust: `is_null()`), and leave when it is"),
    (XDP, "", "calling kernel function bpf_lsm_file_open is not allowed",
        "xdp programs may not call the kernel's function bpf_lsm_file_open | look for a helper or another function that does the same, or move the call into a program of a type that may"),
    // 5.10 without its JIT
    (XDP, "", "tail_calls are not allowed in non-JITed programs with bpf-to-bpf calls",
        "this kernel has no tail calls in non-JITed programs with bpf-to-bpf calls"),
    (XDP, "", "Unreleased reference id=2 alloc_insn=4\nBPF_EXIT instruction in main prog would lead to reference leak",
        "what instruction 4 acquired is not given back on this path | release it on every path: bpf_sk_release for a socket, bpf_ringbuf_submit or _discard for a record"),
    (XDP, "4: (85) call bpf_ringbuf_reserve#131 ; R0=ringbuf_mem_or_null(id=2,ref_obj_id=2)\n5: (95) exit", "Unreleased reference id=2 alloc_insn=4",
        "what bpf_ringbuf_reserve gave (instruction 4) is not given back on this path | call bpf_ringbuf_submit or bpf_ringbuf_discard on every path"),
    (XDP, "4: (85) call bpf_sk_lookup_tcp#84 ; R0=sock_or_null(id=2,ref_obj_id=2)\n5: (95) exit", "Unreleased reference id=2 alloc_insn=4",
        "what bpf_sk_lookup_tcp gave (instruction 4) is not given back on this path | call bpf_sk_release on every path"),
    (XDP, "4: (85) call bpf_iter_num_new#5 ; R0=scalar()\n5: (95) exit", "Unreleased reference id=2 alloc_insn=4",
        "what bpf_iter_num_new gave (instruction 4) is not given back on this path | call bpf_iter_num_destroy on every path"),
    (XDP, "4: (85) call bpf_task_from_pid#5 ; R0=ptr_or_null_task_struct()\n5: (95) exit", "Unreleased reference id=2 alloc_insn=4",
        "what bpf_task_from_pid gave (instruction 4) is not given back on this path | call the function that releases it on every path"),
    (XDP, "2: (61) r2 = *(u32 *)(r1 +0) ; R2=pkt(r=0)\n3: (bc) w1 = w2 ; R1=scalar()\n8: (71) r1 = *(u8 *)(r1 +12)", "R1 invalid mem access 'scalar'",
        "R1 was a pointer that went through 32-bit arithmetic, which cuts it in half | keep pointers out of 32-bit integers: `unsigned long`, or usize"),
    (XDP, "2: (61) r6 = *(u32 *)(r1 +0) ; R6=pkt(r=0)\n7: (85) call bpf_xdp_adjust_head#44 ; R0=scalar()\n8: (71) r1 = *(u8 *)(r6 +12)", "R6 invalid mem access 'scalar'",
        "R6 was a pointer until bpf_xdp_adjust_head was called, which makes it worthless | read data and data_end from the context again after bpf_xdp_adjust_head, and compare them again"),
    (XDP, "2: (bf) r6 = r0 ; R6=sock()\n7: (85) call bpf_sk_release#86 ;\n8: (bf) r1 = r6 ; R1=scalar()\n9: (85) call bpf_sk_release#86", "R1 type=scalar expected=sock_common, sock",
        "argument 1 was a pointer until bpf_sk_release was called, which makes it worthless | use it before bpf_sk_release, and give it back once on each path"),
    (XDP, "", "map 'totals' has to have BTF in order to use bpf_spin_lock",
        "the kernel finds the bpf_spin_lock in a value by the map's types, and `totals` came without | define the map in the section .maps with its key's and value's types, and compile with -g"),
    (XDP, "", "function calls are not allowed while holding a lock",
        "between bpf_spin_lock and bpf_spin_unlock nothing may be called | call it before or after, and keep the values in local variables"),
    (XDP, "", "BPF_EXIT instruction in main prog cannot be used inside bpf_spin_lock-ed region",
        "the program ends, or leaves the function, with a lock held | call bpf_spin_unlock on every path"),
    // 5.10
    (XDP, "", "bpf_spin_unlock is missing",
        "the program ends, or leaves the function, with a lock held | call bpf_spin_unlock on every path"),
    (XDP, "", "write into map forbidden, value_size=8 off=0 size=8",
        "the map is read-only for programs: constants (.rodata), or BPF_F_RDONLY_PROG | declare the variable without const (in Rust: static mut), so that it lies in .data or .bss"),
    (XDP, "", "R1 cannot write into rdonly_mem",
        "R1 points to memory that may only be read (rdonly_mem)"),
    (ProgramType::LWT_IN, "", "cannot write into packet",
        "lwt_in programs may not write to the packet directly"),
    (ProgramType::TRACEPOINT, "", "helper call might sleep in a non-sleepable prog",
        "the helper can sleep, and this program is not declared to"),
    (ProgramType::TRACING, "", "program must be sleepable to call sleepable kfunc bpf_copy_from_user_str",
        "bpf_copy_from_user_str can sleep, and this program is not declared to | declare it sleepable: SEC(\"fentry.s/…\"), SEC(\"lsm.s/…\") or SEC(\"uprobe.s/…\")"),
    (XDP, "", "At callback return the register R0 has smin=0 smax=4294967295 should have been in [0, 1]",
        "a callback returns 0 to go on or 1 to stop, and what this one returns is not always in [0, 1] | return 0 or 1 on every path"),
    // 6.1
    (XDP, "", "At callback return the register R0 has value (0x0; 0xffffffff) should have been in (0x0; 0x1)",
        "a callback returns 0 to go on or 1 to stop, and what this one returns is not always in [0, 1] | return 0 or 1 on every path"),
    (ProgramType::CGROUP_SOCK, "", "At program exit the register R0 has smin=5 smax=5 should have been in [0, 1]",
        "the value returned at program exit is not always in [0, 1], which is all that cgroup_sock programs may return there | return one of those on every path"),
    // 5.10
    (ProgramType::CGROUP_SOCK, "", "At program exit the register R0 has value (0x5; 0x0) should have been in (0x0; 0x1)",
        "the value returned at program exit is not always in [0, 1], which is all that cgroup_sock programs may return there | return one of those on every path"),
    (XDP, "", "missing btf func_info",
        "the program calls functions of the kernel or passes them on, and came without BTF for its own | compile it with -g"),
    // 5.10, given a fetching atomic
    (XDP, "", "BPF_XADD uses reserved fields",
        "this kernel does not know this form of a BPF_XADD instruction: it is older than the instruction set the program was compiled for | compile for an older one: -mcpu=v3 needs Linux 5.1, fetching atomics 5.12, -mcpu=v4 6.6"),
    (XDP, "0: BUG_db", "BPF_ATOMIC uses invalid atomic opcode 77",
        "this kernel does not know this form of a BPF_ATOMIC instruction: it is older than the instruction set the program was compiled for | compile for an older one: -mcpu=v3 needs Linux 5.1, fetching atomics 5.12, -mcpu=v4 6.6"),
    (XDP, "", "unknown opcode ff",
        "this kernel does not know the instruction 0xff: it is older than the instruction set the program was compiled for | compile for an older one: -mcpu=v3 needs Linux 5.1, fetching atomics 5.12, -mcpu=v4 6.6"),
    // 5.10, given a callback, and a pointer to a global function
    (XDP, "", "unrecognized bpf_ld_imm64 insn",
        "this kernel does not know this kind of constant: the address of a function, as a callback, needs Linux 5.13"),
    (XDP, "", "Arg#0 type PTR in sum() is not supported yet.",
        "`sum` is verified alone, and this kernel knows no pointer arguments of global functions (Linux 5.13)"),
    (XDP, "", "Expected an initialized dynptr as arg #2",
        "an argument is no dynptr that a helper has set up, or no longer one | check what bpf_dynptr_from_… returned before the first use"),
    (XDP, "", "cannot overwrite referenced dynptr",
        "a dynptr that holds a record is set up again, or written over"),
    (XDP, "", "Dynptr has to be an uninitialized dynptr", "a dynptr that is in use is set up again"),
    (XDP, "", "addr_space_cast insn can only be used in a program that has an associated arena",
        "the program uses arena pointers and refers to no arena map | use the map's address (`&arena`) somewhere in the program"),
    (XDP, "", "arena's user address must be set via map_extra or mmap()",
        "the arena has no address in user space yet: it is mapped into memory before its programs are loaded"),
    (XDP, "", "R1 has no valid kptr",
        "the field that R1 points to is not marked as a pointer to a kernel object in the map's BTF | declare it with __kptr, and compile with a clang that writes type tags (14 or newer, -g)"),
    (ProgramType::UNSPEC, "", "[2] PTR a<b> type_id=1 Invalid name",
        "the name has bytes that this kernel does not take in that place (it takes letters, digits and `_`)"),
];

#[test]
fn every_row_has_its_words() {
    let mut seen = vec![false; ROWS.len()];
    for (program_type, before, reason, words) in CASES {
        let summary = LogSummary::of(&format!(
            "{before}\n{reason}\nprocessed 1 insns (limit 1000000)\n"
        ));
        let (row, found) = find_row(&summary, *program_type).unwrap_or_else(|| panic!("{reason}"));
        let text = match &found.cure {
            Some(cure) => format!("{} | {cure}", found.meaning),
            None => found.meaning,
        };
        assert_eq!(&text, words, "{reason}");
        assert!(!text.contains('{'), "{text}: a place was not filled in");
        seen[row] = true;
    }
    let unseen: Vec<&str> = ROWS
        .iter()
        .zip(seen)
        .filter(|(_, seen)| !seen)
        .map(|(row, _)| row.says)
        .collect();
    assert!(unseen.is_empty(), "rows without a case: {unseen:#?}");
}

#[test]
fn a_sentence_that_is_not_in_the_table_has_no_words() {
    let summary = LogSummary::of("the verifier of 2040 says something new\n");
    assert_eq!(find(&summary, XDP), None);
    assert_eq!(find(&LogSummary::default(), XDP), None);
}

#[test]
fn a_kernel_that_explains_itself_is_quoted_where_the_table_ends() {
    let log =
        "something new\n\nVerification failed: Policy: New\n\nReason:\n  It is not allowed.\n";
    let words = find(&LogSummary::of(log), XDP).unwrap();
    assert_eq!(
        (words.meaning.as_str(), words.cure),
        ("it is not allowed", None)
    );
}
