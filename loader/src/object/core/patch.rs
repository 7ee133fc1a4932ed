//! Writes an answer into an instruction.

use xdplb_linker::insn::{
    BPF_ALU, BPF_ALU64, BPF_B, BPF_CALL, BPF_DW, BPF_H, BPF_JMP, BPF_LD, BPF_LDX, BPF_MEM, BPF_ST,
    BPF_STX, BPF_W, BPF_X, Insn,
};

use super::answer::{Answer, Check, Width};

/// `BPF_MEMSX`: a load that extends the sign (Linux 6.6).
const BPF_MEMSX: u8 = 0x80;

/// The helper that a poisoned instruction calls: 0xbad2310, "bad relo", which no kernel has. libbpf's number, so that what
/// the verifier then says is known to everyone: `invalid func unknown#195896080`.
pub const POISON: i32 = 0x0bad_2310;

/// Why an answer could not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unpatched {
    /// The instruction is not one that such a relocation can be about.
    Refused(String),
    /// It must not run: no load of another width gives what the program expects.
    Poisoned(String),
}

/// Writes the answer into the instruction at `at`.
pub(super) fn patch(insns: &mut [Insn], at: usize, answer: &Answer) -> Result<(), Unpatched> {
    let refused = |cause: &str| Err(Unpatched::Refused(cause.into()));
    let Some(&insn) = insns.get(at) else {
        return refused("there is no such instruction");
    };
    let expect = |kind: &str, got: u64, fits: bool| {
        if fits || answer.check == Check::Any {
            return Ok(());
        }
        Err(Unpatched::Refused(format!(
            "the {kind} is {}, the object's own types say {}",
            got as i64, answer.original as i64
        )))
    };
    match insn.class() {
        BPF_ALU | BPF_ALU64 if insn.opcode & BPF_X == 0 => {
            let got = i64::from(insn.imm) as u64;
            expect("operand", got, got == answer.original)?;
            let Ok(imm) = i32::try_from(answer.new as i64) else {
                return Err(Unpatched::Refused(format!(
                    "the operand would be {}, which takes more than 32 bits",
                    answer.new as i64
                )));
            };
            insns[at].imm = imm;
            Ok(())
        }
        BPF_LDX | BPF_ST | BPF_STX => {
            let got = i64::from(insn.off) as u64;
            expect("offset", got, got == answer.original)?;
            let Ok(off) = i16::try_from(answer.new) else {
                return Err(Unpatched::Refused(format!(
                    "the offset would be {}, more than the 32767 that an instruction can hold",
                    answer.new
                )));
            };
            let opcode = resized(insn, &answer.width)?;
            insns[at].off = off;
            insns[at].opcode = opcode;
            Ok(())
        }
        BPF_LD if insn.is_ld_imm64() && insn.src == 0 && insn.off == 0 => {
            let Some(&second) = insns.get(at + 1) else {
                return refused("the program ends within the instruction");
            };
            if (Insn { imm: 0, ..second }) != Insn::default() {
                return refused("the second half of the instruction is not empty");
            }
            let (low, high) = (u64::from(insn.imm as u32), u64::from(second.imm as u32));
            let got = high << 32 | low;
            // The compiler may have extended a 32-bit value with zeros: then the new one is, too.
            let zeros = answer.check == Check::Extended
                && got != answer.original
                && got == u64::from(answer.original as u32);
            expect("constant", got, zeros || got == answer.original)?;
            let new = if zeros {
                u64::from(answer.new as u32)
            } else {
                answer.new
            };
            insns[at].imm = new as i32;
            insns[at + 1].imm = (new >> 32) as i32;
            Ok(())
        }
        _ => refused(&format!(
            "an instruction with opcode {:#04x} holds nothing that can be relocated",
            insn.opcode
        )),
    }
}

/// The opcode of a load or store with the width that the field has in this kernel.
fn resized(insn: Insn, width: &Width) -> Result<u8, Unpatched> {
    let loads_signed = insn.class() == BPF_LDX && insn.opcode & 0xe0 == BPF_MEMSX;
    let (from, to, mode) = match *width {
        Width::Same => return Ok(insn.opcode),
        Width::Zeros(from, to) => (from, to, insn.opcode & 0xe0),
        // Eight bytes have no sign to extend.
        Width::Signs(from, 8) if loads_signed => (from, 8, BPF_MEM),
        Width::Signs(from, to) if loads_signed => (from, to, BPF_MEMSX),
        Width::Signs(from, to) | Width::Unfit(from, to) => {
            return Err(Unpatched::Poisoned(format!(
                "the field has {to} bytes in this kernel and {from} in the object, and a load of {to} bytes gives another \
                 value than one of {from}: neither are both pointers nor both unsigned integers"
            )));
        }
    };
    let bytes = match insn.opcode & 0x18 {
        BPF_DW => 8,
        BPF_W => 4,
        BPF_H => 2,
        _ => 1,
    };
    if bytes != from {
        return Err(Unpatched::Refused(format!(
            "the instruction accesses {bytes} bytes, the field has {from} in the object's own types"
        )));
    }
    let size = match to {
        8 => BPF_DW,
        4 => BPF_W,
        2 => BPF_H,
        1 => BPF_B,
        _ => {
            return Err(Unpatched::Refused(format!(
                "no instruction accesses {to} bytes, which the field has in this kernel"
            )));
        }
    };
    Ok(mode | size | insn.class())
}

/// Replaces an instruction by one that the verifier refuses if it can be reached, both slots of a ld_imm64.
pub(super) fn poison(insns: &mut [Insn], at: usize) {
    let slots = insns.get(at).map_or(0, |insn| insn.slots() as usize);
    for insn in insns.iter_mut().skip(at).take(slots) {
        *insn = Insn {
            opcode: BPF_JMP | BPF_CALL,
            imm: POISON,
            ..Insn::default()
        };
    }
}
