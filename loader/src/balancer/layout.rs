//! Whether a map of what runs holds what this program would put into it: its size alone does not tell a lock from a number.

use xdplb_linker::btf::{Btf, Kind, TypeId};

use super::running::Running;
use crate::kernel;
use crate::object::Spec;

/// The maps whose contents one program leaves to the next.
const SHARED: [&str; 6] = [
    "connections",
    "index",
    "services",
    "backends",
    "backend_counters",
    "service_counters",
];
/// Types within types; ours have three.
const DEEPEST: u32 = 16;

/// The first map whose values have other types than this program's. None where the kernel does not show them, which takes
/// CAP_SYS_ADMIN.
pub fn difference(running: &Running, spec: &Spec) -> Option<String> {
    let ours = spec.btf()?;
    SHARED.iter().find_map(|name| {
        let info = running.map(name)?.info().ok()?;
        let theirs = kernel::Btf::from_id(info.btf_id).ok()?.bytes().ok()?;
        let theirs = Btf::parse(&theirs).ok()?;
        let has = describe(&theirs, TypeId(info.btf_value_type_id), 0);
        let wants = describe(ours, spec.map(name)?.value_type, 0);
        (has != wants).then(|| format!("map `{name}`: its values are laid out differently"))
    })
}

/// PURE: a type in words: its members' names, places and types, down to numbers.
fn describe(types: &Btf, id: TypeId, depth: u32) -> String {
    let Some((id, ty)) = types.resolve(id).filter(|_| depth < DEEPEST) else {
        return "?".into();
    };
    match &ty.kind {
        Kind::Struct(composite) | Kind::Union(composite) => {
            let members = composite.members.iter().map(|member| {
                let of = describe(types, member.ty, depth + 1);
                format!("{}@{}:{of}", types.name(member.name), member.bit_offset)
            });
            let members: Vec<String> = members.collect();
            // The kernel knows its lock by the name.
            format!("{}{{{}}}", types.type_name(id), members.join(","))
        }
        Kind::Array(array) => {
            let of = describe(types, array.element, depth + 1);
            format!("[{of};{}]", array.count)
        }
        _ => types
            .size_of(id)
            .map_or("?".into(), |size| size.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn types_are_told_apart_by_their_members() {
        let spec = super::super::program::parse(crate::PROGRAM).unwrap();
        let types = spec.btf().unwrap();
        let of = |map: &str| describe(types, spec.map(map).unwrap().value_type, 0);
        assert_eq!(
            of("service_counters"),
            "ServiceCount{opened@0:8,refused@64:8}"
        );
        assert!(of("index").starts_with("Bucket{"), "{}", of("index"));
        assert_ne!(of("backends"), of("backend_counters"));
        assert_eq!(describe(types, TypeId(u32::MAX), 0), "?");
    }
}
