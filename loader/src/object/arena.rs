//! Global variables in an arena, C's `__arena int x`: section `.addr_space.1`. They have no map of their own; their bytes go
//! into the last pages of the object's arena, as in libbpf (`arena_data_off`), where no pointer to one is 0.

use xdplb_linker::elf::{Object, SectionIndex};

use super::{MapSpec, ObjectError};
use crate::uapi::MapType;

/// The section.
pub(super) const GLOBALS: &str = ".addr_space.1";
/// Where nothing is known of the machine.
const USUAL_PAGE: u32 = 4096;

/// The variables that lie in an arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Globals {
    pub(super) section: SectionIndex,
    pub(super) size: u64,
}

/// Gives the section's bytes to the arena. Without an arena the variables have no place, and who uses one says so.
pub(super) fn read(object: &Object<'_>, maps: &mut [MapSpec]) {
    let Some((section, found)) = object.section_named(GLOBALS) else {
        return;
    };
    let arena = maps.iter_mut().find(|map| map.map_type == MapType::ARENA);
    let Some(arena) = arena.filter(|_| found.size > 0) else {
        return;
    };
    let size = found.size;
    arena.globals = Some(Globals { section, size });
    arena.contents = (!found.data.is_empty()).then(|| found.data.to_vec());
}

/// Finds the place of the variables, now that the size of the arena and of a page are known.
pub(super) fn place(arena: &mut MapSpec, page: u32) {
    let Some(globals) = &arena.globals else {
        return;
    };
    let page = u64::from(if page == 0 { USUAL_PAGE } else { page });
    let room = u64::from(arena.max_entries) * page;
    let start = globals
        .size
        .checked_next_multiple_of(page)
        .and_then(|size| room.checked_sub(size));
    // An arena has at most 4 GiB (arena_map_alloc).
    match start.map(u32::try_from) {
        Some(Ok(start)) => arena.contents_at = start,
        Some(Err(_)) | None => {
            let cause = format!(
                "the variables in arena `{}` take {} bytes, it has {room}",
                arena.name, globals.size
            );
            arena.broken = Some(ObjectError::in_section(GLOBALS, cause));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::build::{Builder, IMM64, exit, load_address, mov};
    use super::super::{Plan, Spec, Target};

    fn planned(pages: u32, page_size: u32, size: usize) -> Plan {
        let mut b = Builder::new();
        let mut code = Vec::from(load_address(1, 4));
        code.extend([mov(0, 2), exit()]);
        b.map("pages", 33, pages)
            .raw(".addr_space.1", "counter", &vec![5; size], false)
            .function("xdp", "main", &code)
            .relocate("xdp", 0, "counter", IMM64);
        let target = Target {
            page_size,
            ..Target::default()
        };
        Spec::parse(&b.finish()).unwrap().plan(&target)
    }

    #[test]
    fn variables_lie_in_the_last_pages() {
        for (page_size, at) in [(0, 3 * 4096), (4096, 3 * 4096), (65_536, 3 * 65_536)] {
            let plan = planned(4, page_size, 8);
            let map = &plan.maps[0];
            assert_eq!(map.spec.contents.as_deref(), Some(&[5; 8][..]));
            assert_eq!(map.spec.contents_at, at);
            let insns = plan.programs[0].unpatched();
            assert_eq!((insns[0].src, insns[1].imm), (2, at as i32 + 4));
        }
        assert_eq!(planned(4, 4096, 5000).maps[0].spec.contents_at, 2 * 4096);
    }

    #[test]
    fn an_arena_can_be_too_small_for_them() {
        let plan = planned(1, 4096, 4097);
        assert_eq!(
            plan.failed_maps().next().unwrap().1.to_string(),
            ".addr_space.1: the variables in arena `pages` take 4097 bytes, it has 4096"
        );
    }
}
