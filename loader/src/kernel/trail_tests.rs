//! Trails through logs that Linux 6.18 wrote, shortened.
#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::super::LogSummary;

/// The trail of a log, a line each: number, instruction, state.
fn check(log: &str, expected: &[&str]) {
    let summary = LogSummary::of(log);
    let found: Vec<String> = summary
        .trail
        .iter()
        .map(|moment| match &moment.state {
            Some(state) => format!("{} -> {state}", moment.line),
            None => moment.line.clone(),
        })
        .collect();
    assert_eq!(found, expected, "{log}");
}

#[test]
fn a_packet_pointer_its_comparison_and_what_was_added() {
    check(
        "\
2: (61) r1 = *(u32 *)(r1 +0)          ; R1=pkt(r=0)
3: (bf) r3 = r1                       ; R1=pkt(r=0) R3=pkt(r=0)
4: (07) r3 += 34                      ; R3=pkt(off=34,r=0)
5: (2d) if r3 > r2 goto pc+9          ; R2=pkt_end() R3=pkt(off=34,r=34)
6: (71) r2 = *(u8 *)(r1 +14)          ; R1=pkt(r=34) R2=scalar(umax=255)
7: (07) r1 += 14                      ; R1=pkt(off=14,r=34)
9: (57) r2 &= 60                      ; R2=scalar(umax=60)
10: (0f) r1 += r2                     ; R1=pkt(id=1,off=14,r=0,umax=60) R2=scalar(umax=60)
11: (71) r1 = *(u8 *)(r1 +13)
invalid access to packet, off=27 size=1, R1(id=1,off=27,r=0)
",
        &[
            "2: (61) r1 = *(u32 *)(r1 +0) -> R1=pkt(r=0)",
            "5: (2d) if r3 > r2 goto pc+9 -> R3=pkt(off=34,r=34)",
            "6: (71) r2 = *(u8 *)(r1 +14) -> R2=scalar(umax=255)",
            "7: (07) r1 += 14 -> R1=pkt(off=14,r=34)",
            "9: (57) r2 &= 60 -> R2=scalar(umax=60)",
            "10: (0f) r1 += r2 -> R1=pkt(id=1,off=14,r=0,umax=60)",
        ],
    );
}

#[test]
fn the_call_that_made_a_pointer_worthless() {
    check(
        "\
2: (61) r6 = *(u32 *)(r1 +0)          ; R1=ctx() R6=pkt(r=0)
7: (85) call bpf_xdp_adjust_head#44   ; R0=scalar()
8: (85) call bpf_get_prandom_u32#7    ; R0=scalar()
11: (71) r1 = *(u8 *)(r6 +12)
R6 invalid mem access 'scalar'
",
        &[
            "2: (61) r6 = *(u32 *)(r1 +0) -> R6=pkt(r=0)",
            "7: (85) call bpf_xdp_adjust_head#44 -> R6 is no pointer from here on",
        ],
    );
    // A pointer that was given back, and a copy of it. A later call before the copy was made is to blame, not after.
    check(
        "\
8: (85) call bpf_sk_lookup_tcp#84     ; R0=sock(id=2,ref_obj_id=2)
9: (bf) r6 = r0                       ; R0=sock(ref_obj_id=2) R6=sock(ref_obj_id=2)
13: (85) call bpf_sk_release#86       ;
15: (bf) r1 = r6                      ; R1=scalar(id=3) R6=scalar(id=3)
16: (85) call bpf_sk_release#86
R1 type=scalar expected=sock_common, sock
",
        &[
            "8: (85) call bpf_sk_lookup_tcp#84 -> R0=sock(id=2,ref_obj_id=2)",
            "9: (bf) r6 = r0 -> R6=sock(ref_obj_id=2)",
            "13: (85) call bpf_sk_release#86 -> R6 is no pointer from here on",
            "15: (bf) r1 = r6 -> R1=scalar(id=3)",
        ],
    );
    // A number from the beginning was taken away by nobody.
    check(
        "0: (b7) r6 = 8 ; R6=8\n1: (85) call bpf_sk_release#86 ; R0=scalar()\n2: (71) r1 = *(u8 *)(r6 +0)\nR6 invalid mem access 'scalar'\n",
        &["0: (b7) r6 = 8 -> R6=8"],
    );
}

#[test]
fn the_path_that_failed_is_found_again_at_its_branch() {
    check(
        "\
0: (b7) r6 = 1                        ; R6=1
1: (55) if r0 != 0x0 goto pc+2        ; R0=0
2: (b7) r6 = 2                        ; R6=2
3: (95) exit

from 1 to 4: R0=scalar() R6=1 R10=fp0
4: (71) r1 = *(u8 *)(r6 +0)
R6 invalid mem access 'scalar'
",
        &["0: (b7) r6 = 1 -> R6=1"],
    );
    // The same branch twice, in a loop: the first path to go back to is the last one left open.
    check(
        "\
0: (b7) r6 = 1                        ; R6=1
1: (55) if r0 != 0x0 goto pc+4        ; R0=0
2: (b7) r6 = 2                        ; R6=2
1: (55) if r0 != 0x0 goto pc+4        ; R0=0
2: (b7) r6 = 3                        ; R6=3
3: (95) exit
from 1 to 6: safe
from 1 to 6: R0=scalar() R6=1 R10=fp0
6: (71) r1 = *(u8 *)(r6 +0)
R6 invalid mem access 'scalar'
",
        &["0: (b7) r6 = 1 -> R6=1"],
    );
    // As Linux 6.18 prints a jump that it follows at once.
    check(
        "12: (85) call bpf_sk_lookup_tcp#84 ; R0=sock_or_null(id=2,ref_obj_id=2) refs=2\n17: (56) if w2 != 0x0 goto pc+3 21: R0=sock(ref_obj_id=2) R1=1\n21: (95) exit\nUnreleased reference id=2 alloc_insn=12\n",
        &["12: (85) call bpf_sk_lookup_tcp#84 -> R0=sock_or_null(id=2,ref_obj_id=2)"],
    );
}

#[test]
fn through_the_stack_and_through_functions() {
    check(
        "\
0: (61) r1 = *(u32 *)(r1 +16)         ; R1=scalar(umax=9)
1: (7b) *(u64 *)(r10 -8) = r1         ; R1=scalar(umax=9) R10=fp0 fp-8=scalar(umax=9)
2: (b7) r1 = 3                        ; R1=3
3: (79) r2 = *(u64 *)(r10 -8)         ; R2=scalar(umax=9) R10=fp0
4: (85) call pc+2
caller:
 R10=fp0
callee:
 frame1: R2=scalar(umax=9) R10=fp0
7: (71) r0 = *(u8 *)(r2 +0)
R2 invalid mem access 'scalar'
",
        &[
            "0: (61) r1 = *(u32 *)(r1 +16) -> R1=scalar(umax=9)",
            "1: (7b) *(u64 *)(r10 -8) = r1 -> R1=scalar(umax=9)",
            "3: (79) r2 = *(u64 *)(r10 -8) -> R2=scalar(umax=9)",
        ],
    );
    // What a function does with its own R6 says nothing of its caller's; what it returns is R0.
    let returned = |last: &str| {
        format!(
            "\
0: (b7) r6 = 1                        ; R6=1
1: (85) call pc+2
caller:
 R6=1 R10=fp0
callee:
 frame1: R10=fp0
4: (b7) r6 = 9                        ; frame1: R6=9
5: (bf) r0 = r6                       ; frame1: R0=9 R6=9
6: (95) exit
returning from callee:
 frame1: R0=9
to caller at 2:
 R0=9 R6=1
2: (71) r1 = *(u8 *)({last} +0)
{} invalid mem access 'scalar'
",
            last.to_uppercase()
        )
    };
    check(&returned("r6"), &["0: (b7) r6 = 1 -> R6=1"]);
    check(
        &returned("r0"),
        &["4: (b7) r6 = 9 -> R6=9", "5: (bf) r0 = r6 -> R0=9"],
    );
}

#[test]
fn where_a_lock_was_taken() {
    check(
        "3: (85) call bpf_spin_lock#93 ;\n4: (61) r1 = *(u32 *)(r6 +8) ; R1=scalar()\n5: (85) call bpf_get_prandom_u32#7\nfunction calls are not allowed while holding a lock\n",
        &["3: (85) call bpf_spin_lock#93"],
    );
    check(
        "3: (85) call bpf_spin_lock#93 ;\n5: (95) exit\nBPF_EXIT instruction in main prog cannot be used inside bpf_spin_lock-ed region\n",
        &["3: (85) call bpf_spin_lock#93"],
    );
}

#[test]
fn an_older_kernels_log_has_instructions_without_states() {
    check(
        "0: (61) r2 = *(u32 *)(r1 +0)\n1: (07) r2 += 4\n2: (71) r1 = *(u8 *)(r2 +0)\nR2 offset is outside of the packet\n",
        &["0: (61) r2 = *(u32 *)(r1 +0)", "1: (07) r2 += 4"],
    );
    // 5.10
    check(
        "10: (85) call bpf_sk_lookup_tcp#84\n11: (bf) r6 = r0\n14: (85) call bpf_sk_release#86\n15: (bf) r1 = r6\n16: (85) call bpf_sk_release#86\nR1 type=inv expected=sock_common, sock\n",
        &[
            "10: (85) call bpf_sk_lookup_tcp#84",
            "11: (bf) r6 = r0",
            "14: (85) call bpf_sk_release#86 -> R6 is no pointer from here on",
            "15: (bf) r1 = r6",
        ],
    );
    check(
        "0: (b7) r6 = 8\n1: (85) call bpf_sk_release#86\n2: (71) r1 = *(u8 *)(r6 +0)\nR6 invalid mem access 'inv'\n",
        &["0: (b7) r6 = 8"],
    );
}

#[test]
fn long_trails_keep_beginning_and_end() {
    let mut log = "0: (b7) r2 = 0 ; R2=0\n".to_string();
    for i in 1..=20 {
        log += &format!("{i}: (07) r2 += 1 ; R2={i}\n");
    }
    log += "21: (71) r1 = *(u8 *)(r2 +0)\nR2 invalid mem access 'scalar'\n";
    let trail = LogSummary::of(&log).trail;
    let numbers: Vec<u32> = trail.iter().map(|moment| moment.insn).collect();
    assert_eq!(numbers, [0, 15, 16, 17, 18, 19, 20]);
}

#[test]
fn any_text_gives_a_trail_if_an_empty_one() {
    for log in [
        "from 3 to 4: R1=1\n4: (71) r1 = *(u8 *)(r1 +0)\nR1 bad\n",
        "returning from callee:\n4: (bf) r1 = r2\nR1 bad\n",
        "callee:\n1: (\nR1 x",
        "1: (7b) *(u64 *)(r10 -\u{fe0f}) = r1\n2: (bf) r1 = \n3: (95) exit\nR1 bad",
        "1: (0f) = \n2: (0f) = r\n3: (95) exit\n",
    ] {
        check(log, &[]);
    }
}
