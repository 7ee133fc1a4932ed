//! What to ask of the kernel: maps in order, then programs, whose instructions wait only for the maps' descriptors.
//!
//! A program is one stretch of instructions to the kernel, so the functions it calls are appended to it, each once
//! (libbpf's `bpf_object__reloc_code`):
//!
//! ```text
//!   section xdp        .text                program as loaded
//!   ┌──────────┐       ┌──────────┐         ┌──────────┐
//!   │ main     │       │ helper   │         │ main     │ call +n ──┐
//!   │  call ───┼──────►│  call ───┼──┐      │ helper   │ ◄─────────┘ call +m ──┐
//!   └──────────┘       │ other    │◄─┘      │ other    │ ◄─────────────────────┘
//!                      │ unused   │         └──────────┘
//!                      └──────────┘
//! ```

use std::collections::{HashMap, VecDeque};

use xdplb_linker::btf::{Btf, TypeId};
use xdplb_linker::elf::SectionIndex;
use xdplb_linker::insn::{self, Insn, InsnIndex};

use super::records::{self, Placed, SourceLine};
use super::relocate::{Reference, Target};
use super::spec::{Function, ProgramSpec};
use super::{MapSpec, ObjectError, ProgramKind, Spec};
use crate::uapi::{MapType, OBJ_NAME_LEN};
use xdplb_linker::btf_ext::{FuncInfo, LineInfo, Record};

/// `BPF_COMPLEXITY_LIMIT_INSNS`, which bounds a privileged program's length.
const MAX_INSNS: usize = 1_000_000;

/// Everything to create, in order.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The object's types.
    pub btf: Option<Btf>,
    /// Maps, in the order of [`MapFds`].
    pub maps: Vec<MapPlan>,
    /// Programs.
    pub programs: Vec<ProgramPlan>,
    /// The license of all programs.
    pub license: String,
    /// The kernel version that kprobes name.
    pub kernel_version: u32,
}

/// A map to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapPlan {
    /// The name it gets in the kernel: at most 15 bytes.
    pub kernel_name: String,
    /// Everything else, adjusted to what the kernel takes.
    pub spec: MapSpec,
}

/// A program to load.
#[derive(Clone, Debug)]
pub struct ProgramPlan {
    /// The function's name.
    pub name: String,
    /// The section it came from.
    pub section: String,
    /// Type, attach type, flags.
    pub kind: ProgramKind,
    /// The instructions that wait for map descriptors.
    pub patches: Vec<Patch>,
    /// The functions it consists of, with their first instructions; the program's own is first.
    pub functions: Vec<(InsnIndex, String)>,
    /// One record a function, or why there are none.
    pub func_info: Result<Vec<FuncInfo>, String>,
    /// One record a source line, or why there are none.
    pub line_info: Result<Vec<LineInfo>, String>,
    insns: Vec<Insn>,
}

/// An instruction that gets a map's descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Which instruction: a ld_imm64.
    pub at: InsnIndex,
    /// What it will hold.
    pub target: PatchTarget,
    /// The symbol it named in the object.
    pub symbol: String,
}

/// What a patched ld_imm64 holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchTarget {
    /// `BPF_PSEUDO_MAP_FD`: the map itself. The number counts [`Plan::maps`].
    Map(usize),
    /// `BPF_PSEUDO_MAP_VALUE`: an address within the map's only value.
    MapValue {
        /// Counts [`Plan::maps`].
        map: usize,
        /// Bytes from the start of the value.
        offset: u32,
    },
}

/// The descriptors of a plan's maps. Having one proves that there is one for each map.
#[derive(Clone, Debug)]
pub struct MapFds(Vec<i32>);

impl Plan {
    /// The descriptors of [`Plan::maps`], in that order.
    pub fn map_fds(&self, fds: Vec<i32>) -> Result<MapFds, ObjectError> {
        if fds.len() == self.maps.len() {
            return Ok(MapFds(fds));
        }
        Err(ObjectError::request(format!(
            "{} descriptors for {} maps",
            fds.len(),
            self.maps.len()
        )))
    }
}

impl ProgramPlan {
    /// The instructions before any descriptor is known: patched places hold 0.
    pub fn unpatched(&self) -> &[Insn] {
        &self.insns
    }

    /// The instructions as the kernel gets them.
    pub fn instructions(&self, fds: &MapFds) -> Vec<Insn> {
        let mut insns = self.insns.clone();
        for patch in &self.patches {
            let at = patch.at.0 as usize;
            let (PatchTarget::Map(map) | PatchTarget::MapValue { map, .. }) = patch.target;
            if let (Some(insn), Some(&fd)) = (insns.get_mut(at), fds.0.get(map)) {
                insn.imm = fd;
            }
        }
        insns
    }

    /// Where an instruction comes from.
    pub fn source_line(&self, btf: &Btf, insn: InsnIndex) -> Option<SourceLine> {
        let lines = self.line_info.as_ref().ok()?;
        let after = lines.partition_point(|line| line.insn_off <= insn.0);
        let line = lines.get(after.checked_sub(1)?)?;
        Some(SourceLine {
            file: btf.name(line.file_name).to_string(),
            line: line.line_number(),
            text: btf.name(line.line).trim().to_string(),
        })
    }

    /// Bytes and record size of func_info, as bpf(2) takes them.
    pub fn func_info_bytes(&self) -> Option<(Vec<u8>, u32)> {
        self.func_info
            .as_ref()
            .ok()
            .map(|records| (records::encode(records), FuncInfo::SIZE))
    }

    /// Bytes and record size of line_info, as bpf(2) takes them.
    pub fn line_info_bytes(&self) -> Option<(Vec<u8>, u32)> {
        self.line_info
            .as_ref()
            .ok()
            .map(|records| (records::encode(records), LineInfo::SIZE))
    }
}

impl Spec {
    /// Plans all programs of the object.
    pub fn plan(&self) -> Result<Plan, ObjectError> {
        let all: Vec<&ProgramSpec> = self.programs.iter().collect();
        self.plan_programs(&all)
    }

    /// Plans some of the programs (of this `Spec`), with all maps.
    pub fn plan_programs(&self, programs: &[&ProgramSpec]) -> Result<Plan, ObjectError> {
        let programs = programs
            .iter()
            .map(|program| self.plan_program(program))
            .collect::<Result<_, _>>()?;
        Ok(Plan {
            btf: self.btf.clone(),
            maps: self.maps.iter().map(|map| self.plan_map(map)).collect(),
            programs,
            license: self.license.clone(),
            kernel_version: self.kernel_version,
        })
    }

    fn plan_map(&self, map: &MapSpec) -> MapPlan {
        let mut spec = map.clone();
        adjust(&mut spec);
        if let Some(inner) = &mut spec.inner {
            adjust(inner);
        }
        MapPlan {
            kernel_name: kernel_name(&self.name, &spec),
            spec,
        }
    }

    fn plan_program(&self, program: &ProgramSpec) -> Result<ProgramPlan, ObjectError> {
        let Some(kind) = program.kind else {
            return Err(ObjectError::in_section(
                &program.section,
                format!(
                    "the name of this section names no type of program that can be loaded (`{}`); known are {}",
                    program.name,
                    ProgramKind::known_sections()
                ),
            ));
        };
        let mut layout = Layout {
            spec: self,
            insns: Vec::new(),
            placed: Vec::new(),
            at: HashMap::new(),
            patches: Vec::new(),
        };
        layout.build(program.function)?;
        let function = |index: usize| {
            let function = &self.functions[index];
            (self.code[function.code].name.clone(), function.clone())
        };
        for place in &layout.placed {
            let (section, function) = function(place.function);
            if let Some(insn) = self.records.core_relo_in(&section, &function) {
                let cause = "CO-RE relocations are not supported yet".to_string();
                return Err(layout.error(&function, insn, cause));
            }
        }
        let no_types = || "the object has no .BTF".to_string();
        let (func_info, line_info) = match &self.btf {
            Some(btf) => (
                self.records.func_info(&layout.placed, function),
                self.records
                    .line_info(btf, &layout.insns, &layout.placed, function),
            ),
            None => (Err(no_types()), Err(no_types())),
        };
        Ok(ProgramPlan {
            name: program.name.clone(),
            section: program.section.clone(),
            kind,
            functions: layout
                .placed
                .iter()
                .map(|place| (place.at, self.functions[place.function].name.clone()))
                .collect(),
            func_info,
            line_info,
            patches: layout.patches,
            insns: layout.insns,
        })
    }
}

/// The instructions of one program while its functions are put together.
struct Layout<'a> {
    spec: &'a Spec,
    insns: Vec<Insn>,
    placed: Vec<Placed>,
    /// Where a function's first instruction is.
    at: HashMap<usize, InsnIndex>,
    patches: Vec<Patch>,
}

impl Layout<'_> {
    fn build(&mut self, main: usize) -> Result<(), ObjectError> {
        let mut waiting = VecDeque::from([main]);
        self.append(main)?;
        while let Some(index) = waiting.pop_front() {
            let function = &self.spec.functions[index];
            let code = &self.spec.code[function.code];
            let range = function.start as usize..(function.start + function.len) as usize;
            let base = self.at.get(&index).copied().unwrap_or_default().0;
            for step in insn::steps(&code.insns[range]) {
                let in_section = function.start + step.at.0;
                let at = InsnIndex(base + step.at.0);
                let reference = code.references.get(&in_section);
                let callee = if step.insn.is_call() {
                    self.callee(function, in_section, step.insn, reference)?
                } else if step.insn.is_ld_imm64() {
                    if step.second.is_none() {
                        return Err(self.error(
                            function,
                            in_section,
                            "the function ends within an instruction".into(),
                        ));
                    }
                    self.address(function, in_section, step.insn, at, reference)?
                } else {
                    None
                };
                let Some(callee) = callee else { continue };
                if !self.at.contains_key(&callee) {
                    self.append(callee)?;
                    waiting.push_back(callee);
                }
                let target = self.at.get(&callee).copied().unwrap_or_default();
                // Both kinds of distance are counted from the next instruction (kernel: add_subprog_and_kfunc).
                let distance = i64::from(target.0) - i64::from(at.0) - 1;
                let insn = &mut self.insns[at.0 as usize];
                insn.imm = distance as i32;
                insn.src = if insn.is_call() {
                    insn::BPF_PSEUDO_CALL
                } else {
                    insn::BPF_PSEUDO_FUNC
                };
            }
        }
        Ok(())
    }

    fn append(&mut self, index: usize) -> Result<(), ObjectError> {
        let function = &self.spec.functions[index];
        let code = &self.spec.code[function.code];
        let at = InsnIndex(self.insns.len() as u32);
        if self.insns.len() + function.len as usize > MAX_INSNS {
            return Err(self.error(
                function,
                function.start,
                format!("the program has more than {MAX_INSNS} instructions"),
            ));
        }
        self.insns.extend_from_slice(
            &code.insns[function.start as usize..(function.start + function.len) as usize],
        );
        self.placed.push(Placed {
            function: index,
            at,
        });
        self.at.insert(index, at);
        Ok(())
    }

    /// The function that a call goes to; `None` for helpers.
    fn callee(
        &self,
        function: &Function,
        insn: u32,
        call: Insn,
        reference: Option<&Reference>,
    ) -> Result<Option<usize>, ObjectError> {
        let relative = i64::from(call.imm) + 1;
        match reference {
            None if !call.is_pseudo_call() => Ok(None),
            None => self
                .function_at(function, insn, function.code, i64::from(insn) + relative)
                .map(Some),
            Some(Reference {
                symbol,
                target: Target::Undefined,
            }) => Err(self.error(
                function,
                insn,
                format!("calls `{symbol}`, which the object does not define"),
            )),
            Some(Reference {
                symbol,
                target: Target::Place { section, offset },
            }) => {
                match self.code_index(*section) {
                    // The addend counts instructions: -1 with a function's symbol, the place with a section's.
                    Some(code) => self
                        .function_at(function, insn, code, (*offset / 8) as i64 + relative)
                        .map(Some),
                    None => Err(self.error(
                        function,
                        insn,
                        format!("calls `{symbol}`, which is not code"),
                    )),
                }
            }
        }
    }

    /// What a ld_imm64 refers to: a map or data (a patch), a function (returned), or nothing.
    fn address(
        &mut self,
        function: &Function,
        insn: u32,
        load: Insn,
        at: InsnIndex,
        reference: Option<&Reference>,
    ) -> Result<Option<usize>, ObjectError> {
        let (symbol, section, offset) = match reference {
            None if load.src == insn::BPF_PSEUDO_FUNC => {
                let target = i64::from(insn) + i64::from(load.imm) + 1;
                return self
                    .function_at(function, insn, function.code, target)
                    .map(Some);
            }
            None => return Ok(None),
            Some(Reference {
                symbol,
                target: Target::Undefined,
            }) => {
                let cause = format!("refers to `{symbol}`, which the object does not define");
                return Err(self.error(function, insn, cause));
            }
            Some(Reference {
                symbol,
                target: Target::Place { section, offset },
            }) => {
                // The addend counts bytes; it is not negative in what compilers write.
                (
                    symbol,
                    *section,
                    offset.saturating_add(u64::from(load.imm as u32)),
                )
            }
        };
        if let Some(code) = self.code_index(section) {
            return self
                .function_at(function, insn, code, (offset / 8) as i64)
                .map(Some);
        }
        let Some((map, target)) = self.spec.map_at(section, offset) else {
            let cause =
                format!("refers to `{symbol}`, which is neither a map, data nor a function");
            return Err(self.error(function, insn, cause));
        };
        if let PatchTarget::MapValue { offset, .. } = target
            && offset > map.value_size
        {
            let cause = format!(
                "refers to {offset} bytes into `{}`, which has {}",
                map.name, map.value_size
            );
            return Err(self.error(function, insn, cause));
        }
        let (src, second) = match target {
            PatchTarget::Map(_) => (insn::BPF_PSEUDO_MAP_FD, 0),
            PatchTarget::MapValue { offset, .. } => (insn::BPF_PSEUDO_MAP_VALUE, offset as i32),
        };
        self.patches.push(Patch {
            at,
            target,
            symbol: symbol.clone(),
        });
        let at = at.0 as usize;
        self.insns[at].src = src;
        self.insns[at].imm = 0;
        self.insns[at + 1].imm = second;
        Ok(None)
    }

    fn code_index(&self, section: SectionIndex) -> Option<usize> {
        self.spec
            .code
            .iter()
            .position(|code| code.section == section)
    }

    fn function_at(
        &self,
        from: &Function,
        insn: u32,
        code: usize,
        target: i64,
    ) -> Result<usize, ObjectError> {
        let found = u32::try_from(target)
            .ok()
            .and_then(|start| self.spec.function_at.get(&(code, start)));
        found.copied().ok_or_else(|| {
            let section = &self.spec.code[code].name;
            self.error(
                from,
                insn,
                format!("no function begins at instruction {target} of {section}"),
            )
        })
    }

    fn error(&self, function: &Function, insn: u32, cause: String) -> ObjectError {
        let section = self.spec.code[function.code].name.clone();
        let place = Some((
            InsnIndex(insn - function.start.min(insn)),
            function.name.clone(),
        ));
        ObjectError {
            section,
            offset: Some(u64::from(insn) * 8),
            insn: place,
            cause,
        }
    }
}

impl Spec {
    /// The map that a place in a section belongs to, and how an instruction refers to it.
    fn map_at(&self, section: SectionIndex, offset: u64) -> Option<(&MapSpec, PatchTarget)> {
        let (index, map) = self.maps.iter().enumerate().find(|(_, map)| {
            map.place.0 == section && (map.name.starts_with('.') || map.place.1 == offset)
        })?;
        let target = if map.name.starts_with('.') {
            PatchTarget::MapValue {
                map: index,
                offset: u32::try_from(offset).ok()?,
            }
        } else {
            PatchTarget::Map(index)
        };
        Some((map, target))
    }
}

/// Fits a definition to what the kernel takes for its type, as libbpf's `bpf_object__create_map` does.
fn adjust(map: &mut MapSpec) {
    // These refuse BTF types with EINVAL (their `map_check_btf` is missing) and lose nothing by doing without.
    const UNTYPED: &[MapType] = &[
        MapType::PERF_EVENT_ARRAY,
        MapType::CGROUP_ARRAY,
        MapType::STACK_TRACE,
        MapType::ARRAY_OF_MAPS,
        MapType::HASH_OF_MAPS,
        MapType::DEVMAP,
        MapType::DEVMAP_HASH,
        MapType::CPUMAP,
        MapType::XSKMAP,
        MapType::SOCKMAP,
        MapType::SOCKHASH,
        MapType::QUEUE,
        MapType::STACK,
        MapType::ARENA,
    ];
    if UNTYPED.contains(&map.map_type) {
        map.key_type = TypeId::VOID;
        map.value_type = TypeId::VOID;
    }
    // A ring buffer has neither keys nor values; some definitions give it a value type all the same.
    if [MapType::RINGBUF, MapType::USER_RINGBUF].contains(&map.map_type) {
        (map.key_size, map.value_size) = (0, 0);
        (map.key_type, map.value_type) = (TypeId::VOID, TypeId::VOID);
    }
    // The slots of a map of maps hold descriptors.
    if map.map_type.is_map_of_maps() || map.map_type == MapType::PROG_ARRAY {
        map.value_size = if map.value_size == 0 {
            4
        } else {
            map.value_size
        };
        map.key_size = if map.key_size == 0 { 4 } else { map.key_size };
    }
}

/// A map's name in the kernel. Data sections are called after the object, as in libbpf (`internal_map_name`): eight bytes
/// of its name, then the section's. A named variant such as `.data.counters` keeps its own name.
fn kernel_name(object: &str, map: &MapSpec) -> String {
    let name = match map.name.strip_prefix('.') {
        Some(rest) if !rest.contains('.') => {
            let room = (OBJ_NAME_LEN - 1).saturating_sub(map.name.len().max(7));
            let prefix: String = object.chars().filter(char::is_ascii).take(room).collect();
            prefix + &map.name
        }
        Some(_) | None => map.name.clone(),
    };
    let clean = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' || c == '.' {
            c
        } else {
            '_'
        }
    };
    name.chars().map(clean).take(OBJ_NAME_LEN - 1).collect()
}
