//! What runs at an interface's XDP hook: nothing, a balancer that an earlier command left there, or somebody else's program.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use nix::errno::Errno;
use xdplb_prog::abi::Mac;
use xdplb_prog::counters::Reason;

use super::pins;
use super::program::{ENTRY, MAPS};
use super::settings::Settings;
use super::tables::{self, BackendStats, ReasonCount};
use crate::attach::at_hook;
use crate::kernel::{self, KernelError, Map, Program, ProgramInfo};
use crate::netlink::{Link, Mode};
use crate::object::Spec;

/// More slots than this are not looked at one by one to count connections: it must stay a matter of a second.
const COUNTED_SLOTS: u32 = 1 << 20;

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
        if running.is_ours() {
            return Ok(Occupant::Ours(Box::new(running)));
        }
        Ok(Occupant::Foreign(Foreign {
            id,
            name: Some(running.info.name),
            mode,
            link: holder(id, link.ifindex),
            program: Some(running.program),
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
    fn is_ours(&self) -> bool {
        self.info.name == kernel::object_name(ENTRY)
            && MAPS.iter().all(|shared| {
                self.map(shared.name)
                    .is_some_and(|map| shared.fits(map.shape()))
            })
    }

    /// A map, by the object's name for it.
    pub fn map(&self, name: &str) -> Option<&Map> {
        self.maps.get(&kernel::object_name(name))
    }

    /// A map's value; None where there is no such map or entry.
    fn value(&self, map: &str, index: u32) -> Result<Option<Vec<u8>>, KernelError> {
        match self.map(map) {
            Some(map) => map.lookup(&tables::index_key(index)),
            None => Ok(None),
        }
    }

    /// What it was started with; None where it is of another version, whose constants lie elsewhere.
    ///
    /// # Errors
    /// The kernel's.
    pub fn settings(&self, spec: &Spec) -> Result<Option<Settings>, KernelError> {
        let rodata = self.maps.iter().find(|(name, _)| name.ends_with(".rodata"));
        let Some((_, map)) = rodata else {
            return Ok(None);
        };
        let bytes = map.lookup(&tables::index_key(0))?;
        Ok(bytes.and_then(|bytes| Settings::read(spec, &bytes)))
    }

    /// Its backends, by index.
    ///
    /// # Errors
    /// The kernel's.
    pub fn backends(&self) -> Result<Vec<(std::net::Ipv4Addr, Mac)>, KernelError> {
        let count = self.entries("backends");
        let mut backends = Vec::new();
        for index in 0..count {
            let value = self.value("backends", index)?;
            backends.extend(value.as_deref().and_then(tables::decode_backend));
        }
        Ok(backends)
    }

    /// The size of a map.
    pub fn entries(&self, map: &str) -> u32 {
        self.map(map).map_or(0, |map| map.shape().max_entries)
    }

    /// How many slots of the connection table are taken, and of how many that were looked at.
    ///
    /// # Errors
    /// The kernel's.
    pub fn live_connections(&self) -> Result<(u32, u32), KernelError> {
        let looked_at = self.entries("connections").min(COUNTED_SLOTS);
        let mut live = 0;
        for slot in 0..looked_at {
            let value = self.value("connections", slot)?;
            live += u32::from(value.is_some_and(|value| tables::is_live(&value)));
        }
        Ok((live, looked_at))
    }

    /// What it counted, by reason.
    ///
    /// # Errors
    /// The kernel's.
    pub fn counters(&self) -> Result<Vec<ReasonCount>, KernelError> {
        let counters = Reason::ALL.iter().map(|reason| {
            let cpus = self.per_cpu("counters", *reason as u32)?;
            Ok(tables::reason_count(*reason, &cpus))
        });
        counters.collect()
    }

    /// What it counted, by backend.
    ///
    /// # Errors
    /// The kernel's.
    pub fn backend_counters(&self) -> Result<Vec<BackendStats>, KernelError> {
        let backends = self.backends()?;
        let counters = (0..).zip(backends).map(|(index, backend)| {
            let cpus = self.per_cpu("backend_counters", index)?;
            Ok(tables::backend_stats(backend, &cpus))
        });
        counters.collect()
    }

    /// The values of all CPUs; none where an older program's map ends before.
    fn per_cpu(&self, map: &str, index: u32) -> Result<Vec<Vec<u8>>, KernelError> {
        let values = match self.map(map) {
            Some(map) => map.lookup_per_cpu(&tables::index_key(index))?,
            None => None,
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
    }
}
