//! Programs that are functions of a struct of operations: which struct, and which of its members, stands in section
//! `.struct_ops`, where the struct's function pointers are relocations against them.
//!
//! The programs are loaded and verified by that. The map that would register the struct with the kernel is not made.

use std::collections::HashMap;

use xdplb_linker::btf::{Btf, Kind};
use xdplb_linker::elf::{Object, Place, RelocationKind, Section};

use super::spec::{Code, Function};
use super::{AttachTarget, ProgramKind, ProgramSpec, SectionKind};
use crate::uapi::{AttachType, ProgramType, prog_flags};

/// Gives each program of a `struct_ops` section the member that it is for.
pub(super) fn assign(
    object: &Object<'_>,
    btf: Option<&Btf>,
    code: &[Code],
    functions: &[Function],
    programs: &mut [ProgramSpec],
) {
    let Some(btf) = btf else { return };
    let mut members = HashMap::new();
    for (_, section) in object.sections() {
        let name = section.name.strip_prefix('?').unwrap_or(section.name);
        if name == ".struct_ops" || name == ".struct_ops.link" {
            read_section(object, btf, section, &mut members);
        }
    }
    for program in programs {
        let SectionKind::Unsupported {
            what: "struct_ops", ..
        } = program.kind
        else {
            continue;
        };
        let Some(function) = functions.get(program.function) else {
            continue;
        };
        let Some(code) = code.get(function.code) else {
            continue;
        };
        let place = (code.section.0, u64::from(function.start) * 8);
        let Some((ops, member)) = members.get(&place) else {
            continue;
        };
        let section = program.section.trim_start_matches('?');
        let sleeps = section == "struct_ops.s" || section.starts_with("struct_ops.s/");
        program.kind = SectionKind::Known(ProgramKind {
            program_type: ProgramType::STRUCT_OPS,
            // The member's number in this kernel's struct, which the plan fills in.
            attach_type: AttachType::NONE,
            flags: if sleeps { prog_flags::SLEEPABLE } else { 0 },
            target: AttachTarget::Member {
                ops: ops.clone(),
                member: member.clone(),
            },
        });
    }
}

/// Struct and member, by section and offset of the function.
type Members = HashMap<(usize, u64), (String, String)>;

fn read_section(object: &Object<'_>, btf: &Btf, section: &Section<'_>, members: &mut Members) {
    let Some((_, datasec)) = btf.datasec(section.name) else {
        return;
    };
    for relocation in &section.relocations {
        let Some(symbol) = object.symbols.get(relocation.symbol.0) else {
            continue;
        };
        let (RelocationKind::Abs64, Place::Section(of)) = (relocation.kind, symbol.place) else {
            continue;
        };
        let at = relocation.offset;
        let var = datasec.vars.iter().find(|var| {
            let start = u64::from(var.offset);
            (start..start.saturating_add(var.size.into())).contains(&at)
        });
        let Some(var) = var else { continue };
        let Some(Kind::Var(variable)) = btf.get(var.ty).map(|ty| &ty.kind) else {
            continue;
        };
        let Some((_, ty)) = btf.resolve(variable.ty) else {
            continue;
        };
        let Kind::Struct(composite) = &ty.kind else {
            continue;
        };
        let bits = (at - u64::from(var.offset)).saturating_mul(8);
        let member = composite
            .members
            .iter()
            .find(|member| u64::from(member.bit_offset) == bits);
        if let Some(member) = member {
            let ops = super::core::essential(btf.name(ty.name).as_bytes());
            let ops = String::from_utf8_lossy(ops).into_owned();
            let member = btf.name(member.name).to_string();
            members.insert((of.0, symbol.value), (ops, member));
        }
    }
}
