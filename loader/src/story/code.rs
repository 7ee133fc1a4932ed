//! Instructions as bytes and text.

use xdplb_linker::insn::{self, Insn, Step};

use super::Code;
use super::words::hex;

/// One whole instruction.
pub(super) fn code(step: Step) -> Code {
    Code {
        bytes: bytes(step),
        text: insn::text(step, None),
    }
}

/// The same with what stands at its other end: `map[flows]`, a function's name.
pub(super) fn code_with(step: Step, referent: Option<&str>) -> Code {
    Code {
        bytes: bytes(step),
        text: insn::text(step, referent),
    }
}

fn bytes(step: Step) -> String {
    let mut all = step.insn.encode().to_vec();
    if let Some(second) = step.second {
        all.extend_from_slice(&second.encode());
    }
    hex(&all)
}

/// Bytes as instructions; what does not fill one is left out.
pub(super) fn decode(bytes: &[u8]) -> Vec<Insn> {
    let (chunks, _) = bytes.as_chunks::<{ Insn::SIZE }>();
    chunks.iter().map(|chunk| Insn::decode(*chunk)).collect()
}
