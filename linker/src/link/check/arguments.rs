//! Functions that the kernel verifies by their prototypes.
//!
//! clang and rustc refuse a sixth argument themselves where they can see it. What reaches a linker are functions whose
//! types still say so: the kernel refuses those among them that are global (`btf_prepare_func_args`: "Global function
//! … with 6 > 5 args"). A static function whose surplus arguments the optimiser removed is fine, whatever its type.

use super::Findings;
use crate::link::atoms::{AtomId, Home};
use crate::link::live::is_verified_alone;
use crate::link::problem::Problem;
use crate::link::view::View;

/// Registers that hold arguments (`MAX_BPF_FUNC_REG_ARGS`).
const MAX_ARGUMENTS: usize = 5;

pub(super) fn check(view: &View<'_, '_>, id: AtomId, findings: &mut Findings) {
    let Some(proto) = view.proto(id) else { return };
    let atom = view.atom(id);
    let is_global = match atom.home {
        Home::Program(_) => true,
        Home::Text | Home::ReadOnly(_) | Home::Data(_) | Home::Zeroed(_) | Home::Named(_) => {
            is_verified_alone(view.modules, atom, view.options)
        }
    };
    let count = proto.params.len();
    if is_global && count > MAX_ARGUMENTS {
        findings.found(view, id, 0, Problem::Arguments(count));
    }
}
