//! What an object says of a map, whichever way it is defined.

use xdplb_linker::btf::TypeId;
use xdplb_linker::elf::SectionIndex;

use super::{ObjectError, arena};
use crate::uapi::MapType;

/// A map to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapSpec {
    /// The variable's name, or the section's for global data.
    pub name: String,
    /// `BPF_MAP_TYPE_*`.
    pub map_type: MapType,
    /// Bytes.
    pub key_size: u32,
    /// Bytes.
    pub value_size: u32,
    /// Entries; 0 where the object leaves it open.
    pub max_entries: u32,
    /// `BPF_F_*` of [`crate::uapi::map_flags`].
    pub map_flags: u32,
    /// What the map type makes of it.
    pub map_extra: u64,
    /// With `BPF_F_NUMA_NODE`: where to allocate.
    pub numa_node: u32,
    /// Whether the object asks for a pin.
    pub pinning: Pinning,
    /// BTF type of the key; `VOID` when only the size is known.
    pub key_type: TypeId,
    /// BTF type of the value; `VOID` when only the size is known.
    pub value_type: TypeId,
    /// For a map of maps: what the maps in it look like.
    pub inner: Option<Box<MapSpec>>,
    /// What to put into which slot once all exist.
    pub values: Vec<(u32, SlotValue)>,
    /// For global data: the only value, as the object has it. `.bss` has zeros, which need not be written. For an arena: the
    /// bytes of the variables in it.
    pub contents: Option<Vec<u8>>,
    /// Where in an arena those go; a plan says it.
    pub contents_at: u32,
    /// Whether the map is made read-only before programs load.
    pub freeze: Freeze,
    /// Why its definition makes no sense: it and the programs that use it cannot be loaded.
    pub broken: Option<ObjectError>,
    /// Where in the object it is defined: relocations name it so.
    pub(super) place: (SectionIndex, u64),
    /// The variables in an arena.
    pub(super) globals: Option<arena::Globals>,
    /// iproute2's number for it; 0 is none.
    pub(super) id: u32,
}

/// `LIBBPF_PIN_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinning {
    /// None asked for.
    None,
    /// Under the map's name in the pin directory.
    ByName,
}

/// Whether user space gives up writing to a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freeze {
    /// No.
    No,
    /// Once its contents are written: constants.
    BeforePrograms,
}

/// What a slot of a map holds from the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotValue {
    /// A map, by name.
    Map(String),
    /// A program, by name.
    Program(String),
}

impl MapSpec {
    pub(super) fn new(name: &str, place: (SectionIndex, u64)) -> Self {
        MapSpec {
            name: name.to_string(),
            map_type: MapType::UNSPEC,
            key_size: 0,
            value_size: 0,
            max_entries: 0,
            map_flags: 0,
            map_extra: 0,
            numa_node: 0,
            pinning: Pinning::None,
            key_type: TypeId::VOID,
            value_type: TypeId::VOID,
            inner: None,
            values: Vec::new(),
            contents: None,
            contents_at: 0,
            freeze: Freeze::No,
            broken: None,
            place,
            globals: None,
            id: 0,
        }
    }
}
