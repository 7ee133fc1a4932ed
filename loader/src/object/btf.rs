//! The object's types: `.BTF` with its relocations applied and its section tables filled in. What is left of it for a kernel
//! that doesn't take all of it: `simplify`.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use xdplb_linker::btf::{Btf, Kind, Linkage, Type, TypeId};
use xdplb_linker::elf::{Object, Place, RelocationKind, Section, SymbolKind, Visibility};

use super::ObjectError;

/// The bytes of `.BTF` or `.BTF.ext` with their relocations applied: what stands in the place plus the symbol's value.
pub(super) fn relocated<'a>(object: &Object<'a>, section: &Section<'a>) -> Cow<'a, [u8]> {
    let mut bytes = Cow::Borrowed(section.data);
    for relocation in &section.relocations {
        if !matches!(
            relocation.kind,
            RelocationKind::Nodyld32 | RelocationKind::Abs32
        ) {
            continue;
        }
        let Some(symbol) = object.symbols.get(relocation.symbol.0) else {
            continue;
        };
        let Ok(at) = usize::try_from(relocation.offset) else {
            continue;
        };
        // Most are against sections, whose symbols have the value 0.
        if symbol.value as u32 == 0 {
            continue;
        }
        let place = bytes.to_mut().get_mut(at..);
        if let Some(word) = place.and_then(<[u8]>::first_chunk_mut::<4>) {
            *word = u32::from_le_bytes(*word)
                .wrapping_add(symbol.value as u32)
                .to_le_bytes();
        }
    }
    bytes
}

/// Reads `.BTF`, when there is one, and completes it: compilers leave the sizes and places of variables to whoever links or
/// loads the object (libbpf's `btf_fixup_datasec`), and hidden functions are static ones to the verifier.
///
/// An object whose types make no sense is one without: `Err` says why there are none (libbpf goes on without, too).
pub(super) fn read(object: &Object<'_>) -> Result<Btf, ObjectError> {
    let Some((_, section)) = object.section_named(".BTF") else {
        let cause = "the object has no .BTF";
        return Err(ObjectError::request(cause));
    };
    let mut btf = Btf::parse(&relocated(object, section))?;
    fill_sections(object, &mut btf);
    demote_hidden(object, &mut btf);
    Ok(btf)
}

fn fill_sections(object: &Object<'_>, btf: &mut Btf) {
    let mut symbols: HashMap<(usize, &str), u64> = HashMap::new();
    let mut places: HashSet<(usize, &str, u64)> = HashSet::new();
    for symbol in &object.symbols {
        if let (Place::Section(section), SymbolKind::Object) = (symbol.place, symbol.kind) {
            symbols.insert((section.0, symbol.name), symbol.value);
            places.insert((section.0, symbol.name, symbol.value));
        }
    }
    let sections: HashMap<&str, (usize, u64)> = object
        .sections()
        .map(|(index, section)| (section.name, (index.0, section.size)))
        .collect();
    let mut filled = Vec::new();
    for (id, ty) in btf.iter() {
        let Kind::Datasec(datasec) = &ty.kind else {
            continue;
        };
        let Some(&(index, size)) = sections.get(btf.name(ty.name)) else {
            continue;
        };
        let mut datasec = datasec.clone();
        datasec.size = size as u32;
        for var in &mut datasec.vars {
            let name = btf.type_name(var.ty);
            // Linked objects can have several static variables of one name: what the file says is kept where it can be.
            if places.contains(&(index, name, var.offset.into())) {
                continue;
            }
            let Some(&value) = symbols.get(&(index, name)) else {
                continue;
            };
            var.offset = value as u32;
        }
        datasec.vars.sort_by_key(|var| var.offset);
        filled.push((
            id,
            Type {
                name: ty.name,
                kind: Kind::Datasec(datasec),
            },
        ));
    }
    for (id, ty) in filled {
        btf.set(id, ty);
    }
}

fn demote_hidden(object: &Object<'_>, btf: &mut Btf) {
    let hidden: HashSet<&str> = object
        .symbols
        .iter()
        .filter(|symbol| symbol.kind == SymbolKind::Func && symbol.visibility == Visibility::Hidden)
        .map(|symbol| symbol.name)
        .collect();
    if hidden.is_empty() {
        return;
    }
    let demoted: Vec<(TypeId, Type)> = btf
        .iter()
        .filter_map(|(id, ty)| match &ty.kind {
            Kind::Func(func)
                if func.linkage == Linkage::Global && hidden.contains(btf.name(ty.name)) =>
            {
                let mut func = *func;
                func.linkage = Linkage::Static;
                Some((
                    id,
                    Type {
                        name: ty.name,
                        kind: Kind::Func(func),
                    },
                ))
            }
            _ => None,
        })
        .collect();
    for (id, ty) in demoted {
        btf.set(id, ty);
    }
}
