//! Pins: DIR/IFNAME/ holds the program and its maps by name, so that the balancer can be found, read and taken over without
//! CAP_SYS_ADMIN, and its maps outlive everything else.
//!
//! New pins are made beside the old ones under the prefix `new_` and moved over them once the program is attached: at every
//! moment the folder has a whole set of the one that runs.

use std::fs;
use std::path::{Path, PathBuf};

use super::program::ENTRY;
use super::running::Opened;
use crate::kernel::{self, BpfFs, KernelError, Map, ProgramInfo};
use crate::load::Loaded;

/// The program's pin.
const PROGRAM: &str = "program";
/// What pins are called until they are moved.
const NEW: &str = "new_";
/// More folders and files than this are not searched.
const SEARCHED: usize = 10_000;

/// Pins of a start that has not succeeded yet: dropped, they are removed again.
#[derive(Debug)]
pub struct NewPins {
    folder: BpfFs,
    /// The folder around it, if this start made it.
    made: Option<PathBuf>,
    names: Vec<String>,
}

impl NewPins {
    /// Pins everything that was loaded below `parent`, in a folder called after the interface.
    ///
    /// # Errors
    /// A place that is in no BPF file system, or the kernel's refusal; nothing is left then.
    pub fn make(parent: &Path, ifname: &str, loaded: &Loaded) -> Result<Self, KernelError> {
        check_place(parent)?;
        let made = (!parent.exists()).then(|| parent.to_path_buf());
        let outer = BpfFs::create(parent)?;
        // Names with dots are reserved there (`bpf_lookup` in kernel/bpf/inode.c), and `eth0.100` has one.
        let mut pins = Self {
            folder: BpfFs::create(&outer.path(ifname)).inspect_err(|_| remove_empty(&made))?,
            made,
            names: Vec::new(),
        };
        for (name, map) in &loaded.maps {
            let pinned = pins.start(name)?;
            pins.folder.pin_map(&pinned, map)?;
        }
        if let Ok(program) = loaded.program(ENTRY) {
            let pinned = pins.start(PROGRAM)?;
            pins.folder.pin_program(&pinned, program)?;
        }
        Ok(pins)
    }

    /// Notes a name and makes room for it: a start that was killed can have left one.
    fn start(&mut self, name: &str) -> Result<String, KernelError> {
        let pinned = format!("{NEW}{name}");
        kernel::unpin(&self.folder.path(&pinned))?;
        self.names.push(name.to_string());
        Ok(pinned)
    }

    /// The folder they are in.
    pub fn folder(&self) -> &Path {
        self.folder.directory()
    }

    /// Moves them over what was pinned before.
    ///
    /// # Errors
    /// A move that fails, with its path; what was not moved is removed.
    pub fn keep(mut self) -> std::io::Result<()> {
        while let Some(name) = self.names.last() {
            let from = self.folder.path(&format!("{NEW}{name}"));
            fs::rename(&from, self.folder.path(name)).map_err(|error| {
                std::io::Error::other(format!("{}: rename: {error}", from.display()))
            })?;
            self.names.pop();
        }
        Ok(())
    }
}

impl Drop for NewPins {
    fn drop(&mut self) {
        for name in &self.names {
            // What stands in the way of removing it is no news beside the error that led here.
            let _ = kernel::unpin(&self.folder.path(&format!("{NEW}{name}")));
        }
        let _ = fs::remove_dir(self.folder.directory());
        remove_empty(&self.made);
    }
}

/// A folder can only be made inside a BPF file system. `ip netns exec` has a /sys of its own without one, where making it
/// would fail for reasons that say nothing.
fn check_place(folder: &Path) -> Result<(), KernelError> {
    let around = folder
        .parent()
        .filter(|around| !folder.exists() && around.exists());
    match around.map(BpfFs::open) {
        Some(Err(KernelError::Usage { why, .. })) => Err(KernelError::Usage {
            what: format!("{}: use as a pin directory", folder.display()),
            why,
        }),
        Some(Ok(_) | Err(_)) | None => Ok(()),
    }
}

/// Removes a folder, if there is one and it holds nothing.
fn remove_empty(folder: &Option<PathBuf>) {
    if let Some(folder) = folder {
        let _ = fs::remove_dir(folder);
    }
}

/// Removes the pins of a balancer from a folder, those that a killed start left under the same names too, and the folder and
/// the one around it if nothing else is in them.
///
/// # Errors
/// The first pin that cannot be removed.
pub fn remove(folder: &Path, info: &ProgramInfo) -> Result<(), KernelError> {
    let programs = [PROGRAM.to_string(), format!("{NEW}{PROGRAM}")];
    let programs = programs.map(|name| folder.join(name)).into_iter();
    let mut pins: Vec<PathBuf> = programs.filter(|path| program_at(path).is_some()).collect();
    for (name, _) in maps_in(folder, info) {
        pins.push(folder.join(format!("{NEW}{name}")));
        pins.push(folder.join(name));
    }
    pins.iter().try_for_each(|pin| kernel::unpin(pin))?;
    // Each of the two stays if it holds anything; `run --pin` made them, and makes them again.
    let _ = fs::remove_dir(folder);
    remove_empty(&folder.parent().map(Path::to_path_buf));
    Ok(())
}

/// The program's maps among the files of a folder, by the names they have there when all is well. Other files are not touched:
/// a folder of the user's own may hold anything.
fn maps_in(folder: &Path, info: &ProgramInfo) -> Vec<(String, Map)> {
    let entries = fs::read_dir(folder).into_iter().flatten().take(SEARCHED);
    let maps = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let name = name.strip_prefix(NEW).unwrap_or(&name).to_string();
        let map = kernel::open_map(&entry.path()).ok().flatten()?;
        let id = map.info().ok()?.id;
        // The name tells a map from a pin of another sort whose number is the same.
        (info.map_ids.contains(&id) && is_name_of(&name, map.name())).then_some((name, map))
    });
    maps.collect()
}

/// PURE: whether a map with this name in the kernel is pinned under that one: `xdplb.rodata` is `_rodata`.
fn is_name_of(pin: &str, map: &str) -> bool {
    match pin.strip_prefix('_') {
        Some(section) => map.rsplit_once('.').is_some_and(|(_, of)| of == section),
        None => map == kernel::object_name(pin),
    }
}

/// The folder in which the balancer with this program is pinned.
pub fn folder_of(program: u32) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut folders = mount_points(&mounts);
    let mut left = SEARCHED;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            left = left.checked_sub(1)?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            } else if program_at(&entry.path()) == Some(program) {
                return Some(folder);
            }
        }
    }
    None
}

/// The number of the program of ours that a file is the pin of. Only files of our names are opened.
fn program_at(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    if name.strip_prefix(NEW).unwrap_or(name) != PROGRAM {
        return None;
    }
    let info = kernel::open_program(path).ok().flatten()?.info().ok()?;
    (info.name == kernel::object_name(ENTRY)).then_some(info.id)
}

/// PURE: where BPF file systems are mounted, from /proc/self/mounts (fstab(5): blanks are octal).
fn mount_points(mounts: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        if let (Some(_), Some(place), Some("bpf")) = (fields.next(), fields.next(), fields.next()) {
            let place = place.replace("\\040", " ").replace("\\011", "\t");
            found.push(place.replace("\\012", "\n").replace("\\134", "\\").into());
        }
    }
    found.dedup();
    found
}

/// Opens a balancer through its pins, for those who may not open programs and maps by number.
pub fn opened(program: u32) -> Option<Opened> {
    let folder = folder_of(program)?;
    let paths = [PROGRAM.to_string(), format!("{NEW}{PROGRAM}")].map(|name| folder.join(name));
    let pin = paths
        .iter()
        .find(|path| program_at(path) == Some(program))?;
    let program = kernel::open_program(pin).ok().flatten()?;
    let info = program.info().ok()?;
    let maps = maps_in(&folder, &info).into_iter();
    let maps = maps.map(|(_, map)| (map.name().to_string(), map)).collect();
    Some((program, info, maps))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn file_systems_are_found_in_the_mount_table() {
        let mounts = "proc /proc proc rw 0 0\nbpf /sys/fs/bpf bpf rw,mode=700 0 0\nnone /tmp/a\\040b bpf rw 0 0\nbpf /x tmpfs rw 0 0\n";
        assert_eq!(
            mount_points(mounts),
            [Path::new("/sys/fs/bpf"), Path::new("/tmp/a b")]
        );
    }

    #[test]
    fn a_place_outside_is_refused_before_anything_is_made() {
        let error = check_place(Path::new("/proc/lb")).map_err(|error| error.to_string());
        assert_eq!(
            error.unwrap_err(),
            "/proc/lb: use as a pin directory: it is not in a BPF file system\n  try:  mount -t bpf bpf /sys/fs/bpf"
        );
    }

    #[test]
    fn pins_are_called_as_their_maps() {
        for (pin, map) in [
            ("flows", "flows"),
            ("backend_counters", "backend_counter"),
            ("_rodata", "xdplb.rodata"),
            ("_bss", ".bss"),
        ] {
            assert!(is_name_of(pin, map), "{pin}");
        }
        for (pin, map) in [("flows", "flow"), ("_rodata", "rodata"), ("program", "")] {
            assert!(!is_name_of(pin, map), "{pin}");
        }
    }
}
