//! What runs at an interface's XDP hook: nothing, a balancer that an earlier command left there, or somebody else's program.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use nix::errno::Errno;
use xdplb_linker::btf::Btf;

use super::pins;
use super::program::{ENTRY, MAPS};
use super::settings::Settings;
use super::tables;
use crate::attach::at_hook;
use crate::kernel::{self, KernelError, Map, Program, ProgramInfo};
use crate::netlink::{Link, Mode};
use crate::object::Spec;

/// A balancer that is attached, and its maps.
#[derive(Debug)]
pub struct Running {
    /// Where it is attached.
    pub mode: Mode,
    /// The program.
    pub program: Program,
    /// What the kernel says about it.
    pub info: ProgramInfo,
    /// By the names that the kernel keeps ([`kernel::object_name`]).
    maps: HashMap<String, Map>,
}

/// A program that is not ours, or that we may not look into.
#[derive(Debug)]
pub struct Foreign {
    /// Its number.
    pub id: u32,
    /// Its name, where we may see it.
    pub name: Option<String>,
    /// Where it is attached.
    pub mode: Mode,
    /// The bpf_link that holds it.
    pub link: Option<u32>,
    /// The program, where we may open it.
    pub program: Option<Program>,
    /// Of a balancer of another version: the first thing in which it differs.
    pub version: Option<String>,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "XDP program {}", self.id)?;
        if let Some(name) = &self.name {
            write!(f, " `{}`", name.escape_debug())?;
        }
        write!(f, " ({})", self.mode)?;
        if let Some(link) = self.link {
            write!(f, ", held by bpf_link {link}")?;
        }
        if self.name.is_none() {
            f.write_str("\n  what it is takes cap_sys_admin to see")?;
        }
        if let Some(difference) = &self.version {
            write!(
                f,
                "\n  a balancer of another version, whose flows this one cannot take over: {difference}"
            )?;
        }
        Ok(())
    }
}

/// Who is at an interface's XDP hook.
#[derive(Debug)]
pub enum Occupant {
    /// Nobody.
    Nothing,
    /// A balancer of ours.
    Ours(Box<Running>),
    /// Somebody else.
    Foreign(Foreign),
}

impl Occupant {
    /// Looks at the programs of a link. It is told ours from others by the program's name and by its maps.
    ///
    /// # Errors
    /// The kernel's, but for missing privilege: a program that may not be looked into is foreign unless it is pinned.
    pub fn of(link: &Link) -> Result<Self, KernelError> {
        let Some((mode, id)) = at_hook(link) else {
            return Ok(Occupant::Nothing);
        };
        let opened = match Program::from_id(id) {
            Ok(program) => open_maps(program)?,
            Err(error) => match error.errno() {
                // Gone since the link was read.
                Some(Errno::ENOENT) => return Ok(Occupant::Nothing),
                Some(Errno::EPERM) => match pins::opened(id) {
                    Some(opened) => opened,
                    None => return Ok(Occupant::Foreign(Foreign::unseen(id, mode))),
                },
                _ => return Err(error),
            },
        };
        let (program, info, maps) = opened;
        let running = Running {
            mode,
            program,
            info,
            maps,
        };
        let named_so = running.info.name == kernel::object_name(ENTRY);
        let misfit = running.misfit();
        if named_so && misfit.is_none() {
            return Ok(Occupant::Ours(Box::new(running)));
        }
        Ok(Occupant::Foreign(Foreign {
            id,
            name: Some(running.info.name),
            mode,
            link: holder(id, link.ifindex),
            program: Some(running.program),
            version: misfit.filter(|_| named_so),
        }))
    }
}

impl Foreign {
    fn unseen(id: u32, mode: Mode) -> Self {
        Self {
            id,
            name: None,
            mode,
            link: None,
            program: None,
            version: None,
        }
    }
}

/// A program, what is known of it, and its maps by name.
pub type Opened = (Program, ProgramInfo, HashMap<String, Map>);

fn open_maps(program: Program) -> Result<Opened, KernelError> {
    let info = program.info()?;
    let mut maps = HashMap::new();
    for id in &info.map_ids {
        match Map::from_id(*id) {
            Ok(map) => drop(maps.insert(map.name().to_string(), map)),
            Err(error) if error.errno() == Some(Errno::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((program, info, maps))
}

/// The link that holds a program at this interface, where we may look.
fn holder(program: u32, ifindex: u32) -> Option<u32> {
    let ids = kernel::link_ids().ok()?;
    ids.into_iter().find(|id| {
        let info = kernel::Link::from_id(*id).and_then(|link| link.info());
        info.is_ok_and(|info| info.program_id == program && info.ifindex == Some(ifindex))
    })
}

impl Running {
    /// The first thing in which its maps are not laid out as this loader knows them. What a program keeps for itself while a
    /// packet is under way is nobody else's business.
    fn misfit(&self) -> Option<String> {
        let mut shared = MAPS.iter().filter(|shared| shared.name != "scratch");
        shared.find_map(|shared| match self.map(shared.name) {
            Some(map) => shared.misfit(map.shape()),
            None => Some(format!("it has no map `{}`", shared.name)),
        })
    }

    /// A map, by the object's name for it.
    pub fn map(&self, name: &str) -> Option<&Map> {
        self.maps.get(&kernel::object_name(name))
    }

    /// What it was started with; None where it is of another version, whose constants cannot be found.
    ///
    /// # Errors
    /// The kernel's.
    pub fn settings(&self, spec: &Spec) -> Result<Option<Settings>, KernelError> {
        let Some(bytes) = self.section(".rodata")? else {
            return Ok(None);
        };
        if let Some(types) = self.types() {
            return Ok(Settings::read_by_types(&types, &bytes));
        }
        Ok(Settings::read(spec, &bytes))
    }

    /// Its types, where we may see them (CAP_SYS_ADMIN).
    fn types(&self) -> Option<Btf> {
        let types = kernel::Btf::from_id(self.info.btf_id).ok()?;
        Btf::parse(&types.bytes().ok()?).ok()
    }

    /// The bytes of a data section, such as `.rodata`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn section(&self, section: &str) -> Result<Option<Vec<u8>>, KernelError> {
        let found = self.maps.iter().find(|(name, _)| name.ends_with(section));
        found.map_or(Ok(None), |(_, map)| map.lookup(&tables::index_key(0)))
    }

    /// The number of the map of its flows: whoever else has it is the same balancer, in another configuration or traced.
    pub fn flows(&self) -> Option<u32> {
        self.map("connections")
            .and_then(|map| map.info().ok())
            .map(|info| info.id)
    }

    /// The size of a map.
    pub fn entries(&self, map: &str) -> u32 {
        self.map(map).map_or(0, |map| map.shape().max_entries)
    }

    /// The values of all CPUs, one behind the other; none where an older program's map ends before.
    ///
    /// # Errors
    /// The kernel's.
    pub fn per_cpu(&self, map: &str, index: u32) -> Result<Vec<u8>, KernelError> {
        let values = match self.map(map) {
            Some(map) if index < map.shape().max_entries => {
                map.lookup(&tables::index_key(index))?
            }
            Some(_) | None => None,
        };
        Ok(values.unwrap_or_default())
    }

    /// The folder in a BPF file system in which it is pinned.
    pub fn pins(&self) -> Option<PathBuf> {
        pins::folder_of(self.info.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_program_says_what_is_known_of_it() {
        let mut foreign = Foreign::unseen(42, Mode::Native);
        assert_eq!(
            foreign.to_string(),
            "XDP program 42 (native)\n  what it is takes cap_sys_admin to see"
        );
        foreign.name = Some("xdp_filter".into());
        assert_eq!(foreign.to_string(), "XDP program 42 `xdp_filter` (native)");
        foreign.link = Some(7);
        assert_eq!(
            foreign.to_string(),
            "XDP program 42 `xdp_filter` (native), held by bpf_link 7"
        );
        foreign.link = None;
        foreign.version = Some("it has no map `index`".into());
        assert_eq!(
            foreign.to_string(),
            "XDP program 42 `xdp_filter` (native)\n  a balancer of another version, whose flows this one cannot take over: it has no map `index`"
        );
    }
}
