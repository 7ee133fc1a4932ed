//! Pass 8: the types of the output, and what they say of its instructions.
//!
//! What the kernel asks for (`check_btf_func`, `check_btf_line` in kernel/bpf/verifier.c, `btf_datasec_check_meta` in
//! kernel/bpf/btf.c): one func_info for each function, ascending; line_info ascending, at the first instruction of
//! each function, never on the second slot of a `ld_imm64`; variables ascending, inside their section, without
//! overlap. The loader takes what belongs to one program out of it.
//!
//! ```text
//! module's types ─ repair ─▶ ─┐
//! module's types ─ repair ─▶ ─┼─ merge ─▶ each type once ─ sections ─▶ DATASECs ─ keep ─▶ what live code and data need
//! functions without types ─▶ ─┘           (btf::merge)                            (btf::keep)
//! ```

use std::collections::BTreeSet;

use super::atoms::Atoms;
use super::inputs::{Module, ModuleId, Types};
use super::place::Layout;
use super::records::{core_relos, described_functions, functions, lines};
use super::types_found::{Described, EXTERN_SECTIONS};
use super::{LinkError, Options};
use crate::btf::{self, Btf, Datasec, Kind, TypeId, VarSecinfo};
use crate::btf_ext::BtfExt;
use crate::elf::write::{Content, Image, ImageSection};

/// .BTF and .BTF.ext of the output; nothing when no input has types. `types` are those of the modules, in their order.
pub(super) fn describe(
    modules: &[Module<'_>],
    types: Vec<Option<Types>>,
    atoms: &Atoms<'_>,
    layout: &Layout<'_>,
    image: &Image,
    options: &Options,
) -> Result<Vec<ImageSection>, LinkError> {
    if types.iter().all(Option::is_none) {
        return Ok(Vec::new());
    }
    let externs: BTreeSet<&str> = image
        .symbols
        .iter()
        .filter(|symbol| symbol.section.is_none())
        .map(|symbol| symbol.name.as_str())
        .collect();
    let mut described: Vec<Described> = modules
        .iter()
        .zip(types)
        .enumerate()
        .map(|(index, (module, types))| {
            Described::find(ModuleId(index), module, types, atoms, layout, &externs)
        })
        .collect();
    let mut made = described_functions(modules, atoms, layout, &mut described, options);
    // From here on every live function has a type of its own, in its module's types or in `made`.
    let inputs = described.iter_mut().map(|module| &mut module.btf);
    let mut merged = btf::merge(inputs.chain([&mut made]));
    for (module, numbers) in described.iter_mut().zip(&merged.numbers) {
        // What was made comes last.
        module.visit_types(|id| *id = numbers.get(*id));
    }
    let of_made = merged.numbers.last().cloned();
    for module in &mut described {
        module.adopt(|id| {
            of_made
                .as_ref()
                .map_or(TypeId::VOID, |numbers| numbers.get(id))
        });
    }
    // From here on all type ids are of one section, in which each type is once.
    let sections = sections(&mut merged.btf, layout, &described)?;
    let functions = functions(atoms, layout, &described);
    let roots = functions
        .iter()
        .map(|(_, id)| *id)
        .chain(sections)
        .chain(described.iter().flat_map(Described::core_types));
    let (mut btf, numbers) = btf::keep(&merged.btf, roots);
    drop(merged);
    let ext = BtfExt {
        func_info: super::records::func_info(&mut btf, layout, &functions, &numbers),
        line_info: lines(&mut btf, atoms, layout, &described),
        core_relos: core_relos(&mut btf, layout, &described, &numbers),
    };
    let section = |name: &str, bytes| ImageSection {
        name: name.to_owned(),
        content: Content::Metadata(bytes),
        align: 4,
        relocations: Vec::new(),
    };
    Ok(vec![
        section(".BTF", btf.encode()),
        section(".BTF.ext", ext.encode()),
    ])
}

/// Whether a module says in its types that someone else defines `name`.
pub(super) fn is_declared_extern(module: &Module<'_>, name: &str) -> bool {
    module.types.as_ref().is_some_and(|types| {
        EXTERN_SECTIONS
            .iter()
            .filter_map(|section| types.btf.datasec(section))
            .flat_map(|(_, section)| &section.vars)
            .any(|var| types.btf.type_name(var.ty) == name)
    })
}

/// A DATASEC for each section that has described variables; says their numbers.
fn sections(
    btf: &mut Btf,
    layout: &Layout<'_>,
    described: &[Described],
) -> Result<Vec<TypeId>, LinkError> {
    let mut added = Vec::new();
    let mut by_section: Vec<Vec<VarSecinfo>> = vec![Vec::new(); layout.sections.len()];
    for (location, var) in described.iter().flat_map(|module| &module.vars) {
        by_section[location.section].push(VarSecinfo {
            offset: location.offset as u32,
            ..*var
        });
    }
    for (section, mut vars) in layout.sections.iter().zip(by_section) {
        vars.sort_by_key(|var| var.offset);
        let mut end: u64 = 0;
        vars.retain(|var| {
            let after = u64::from(var.offset) + u64::from(var.size);
            let fits = u64::from(var.offset) >= end && after <= section.size;
            if fits {
                end = after;
            }
            fits
        });
        added.extend(add_section(
            btf,
            section.home.name(),
            section.size as u32,
            vars,
        )?);
    }
    for name in EXTERN_SECTIONS {
        let mut seen = BTreeSet::new();
        let vars: Vec<VarSecinfo> = described
            .iter()
            .flat_map(|module| &module.externs)
            .filter(|(section, _)| *section == name)
            .filter(|(_, var)| seen.insert(btf.type_name(var.ty).to_owned()))
            .map(|(_, var)| *var)
            .collect();
        added.extend(add_section(btf, name, 0, vars)?);
    }
    Ok(added)
}

fn add_section(
    btf: &mut Btf,
    name: &str,
    size: u32,
    vars: Vec<VarSecinfo>,
) -> Result<Option<TypeId>, LinkError> {
    // The number of variables has 16 bits (`BTF_MAX_VLEN`).
    let limit = u64::from(u16::MAX);
    if vars.len() as u64 > limit {
        return Err(LinkError::TooLarge {
            section: format!("{name} (variables)"),
            size: vars.len() as u64,
            limit,
        });
    }
    Ok((!vars.is_empty()).then(|| btf.add(name, Kind::Datasec(Datasec { size, vars }))))
}
