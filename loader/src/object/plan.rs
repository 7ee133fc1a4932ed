//! What to ask of the kernel: maps in order, then programs, whose instructions wait only for the maps' descriptors.

use std::sync::Arc;

use std::cell::OnceCell;

use xdplb_linker::btf::Btf;
use xdplb_linker::btf_ext::{CoreRelo, FuncInfo, LineInfo, Record};
use xdplb_linker::insn::{Insn, InsnIndex};
use xdplb_linker::link::is_library_file;

use super::core::{Applied, Kernel, Relocations};
use super::externs::KCONFIG;
use super::kernel_names::Answers;
use super::layout::Layout;
use super::map_plan::{adjust, kernel_name};
use super::records::{self, Placed, SourceLine};
use super::relocate::References;
use super::spec::ProgramSpec;
use super::{MapSpec, ObjectError, ProgramKind, SectionKind, Spec, Target, arena};
use crate::uapi::AttachType;
/// All programs of an object together: what keeps a hostile file, whose functions all overlap, from taking all memory.
const MAX_INSNS: usize = 4_000_000;

/// Everything to create, in order.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The object's types.
    pub btf: Option<Arc<Btf>>,
    /// Maps, in the order of [`MapFds`].
    pub maps: Vec<MapPlan>,
    /// Programs.
    pub programs: Vec<ProgramPlan>,
    /// Programs that cannot be loaded, and why. They do not spoil the others.
    pub failed: Vec<(ProgramSpec, ObjectError)>,
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
    /// The BTF id of what it attaches to, for the kinds that say it when they are loaded; else 0.
    pub attach_btf_id: u32,
    /// Whose types that id is of: 0 for the kernel's own, else a module's BTF object (its id).
    pub attach_btf_module: u32,
    /// The instructions that wait for map descriptors.
    pub patches: Vec<Patch>,
    /// The functions it consists of, with their first instructions; the program's own is first.
    pub functions: Vec<(InsnIndex, String)>,
    /// One record a function, or why there are none.
    pub func_info: Result<Vec<FuncInfo>, String>,
    /// One record a source line, or why there are none.
    pub line_info: Result<Vec<LineInfo>, String>,
    /// Instructions that were replaced by a call the verifier refuses, since what they need of the kernel's types is not
    /// there, and why ([`super::core::explain`]).
    pub poisoned: Vec<(InsnIndex, Arc<str>)>,
    /// Instructions that were fitted to the kernel's types (CO-RE), in the order in which that was done.
    pub fitted: Vec<FittedInsn>,
    /// The BTF objects (by id) of the modules whose functions or variables it uses. Calls name them by their place in the
    /// load's `fd_array`, which is [`ProgramPlan::fd_array`].
    pub modules: Vec<u32>,
    /// Where the address of a module's variable is wanted, and which of `modules` it is of.
    module_variables: Vec<(InsnIndex, usize)>,
    placed: Vec<Placed>,
    insns: Vec<Insn>,
}

/// An instruction that was fitted to the kernel's types. [`told`] says in words what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FittedInsn {
    /// Which instruction.
    pub at: InsnIndex,
    /// The object's question. Its `insn_off` counts in the section.
    pub relo: CoreRelo,
    /// The number that the compiler wrote.
    pub original: u64,
    /// The number that took its place.
    pub new: u64,
}

/// A function of a program as it stands in the object.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    /// Where its first instruction is in the program.
    pub at: InsnIndex,
    /// Its name.
    pub name: &'a str,
    /// The section it is in.
    pub section: &'a str,
    /// Where it begins there.
    pub start: InsnIndex,
    /// Its instructions, before anything was resolved.
    pub insns: &'a [Insn],
    references: &'a References,
}

impl Original<'_> {
    /// The symbol that one of its instructions, counted from its first, refers to.
    pub fn symbol(&self, insn: u32) -> Option<&str> {
        let reference = self.references.get(self.start.0.checked_add(insn)?)?;
        Some(&reference.symbol)
    }
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

impl MapFds {
    /// What a patch writes.
    pub fn of(&self, patch: &Patch) -> Option<i32> {
        let (PatchTarget::Map(map) | PatchTarget::MapValue { map, .. }) = patch.target;
        self.0.get(map).copied()
    }
}

impl MapPlan {
    /// Why it cannot be created: what is wrong with its definition, or with that of the maps in it.
    pub fn broken(&self) -> Option<&ObjectError> {
        let inner = self.spec.inner.as_ref();
        let inner = inner.and_then(|inner| inner.broken.as_ref());
        self.spec.broken.as_ref().or(inner)
    }
}

impl Plan {
    /// The maps that cannot be created, and why. They spoil only the programs that use them.
    pub fn failed_maps(&self) -> impl Iterator<Item = (&MapPlan, &ObjectError)> {
        self.maps
            .iter()
            .filter_map(|map| Some((map, map.broken()?)))
    }

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

    /// The instructions as the kernel gets them. For a program with [`Self::modules`] there is
    /// [`Self::instructions_with`].
    pub fn instructions(&self, fds: &MapFds) -> Vec<Insn> {
        self.instructions_with(fds, &[])
    }

    /// The instructions as the kernel gets them, with descriptors of the BTF of [`Self::modules`], in that order.
    pub fn instructions_with(&self, fds: &MapFds, modules: &[i32]) -> Vec<Insn> {
        let mut insns = self.insns.clone();
        for patch in &self.patches {
            if let (Some(insn), Some(fd)) = (insns.get_mut(patch.at.0 as usize), fds.of(patch)) {
                insn.imm = fd;
            }
        }
        // The second half of `BPF_PSEUDO_BTF_ID` names the module's types.
        for (at, module) in &self.module_variables {
            let second = insns.get_mut(at.0 as usize + 1);
            if let (Some(insn), Some(&fd)) = (second, modules.get(*module)) {
                insn.imm = fd;
            }
        }
        insns
    }

    /// The load's `fd_array`, with descriptors of the BTF of [`Self::modules`]; empty where there are none. Its first
    /// place stands for the kernel's own types.
    pub fn fd_array(&self, modules: &[i32]) -> Vec<i32> {
        match modules {
            [] => Vec::new(),
            modules => std::iter::once(0).chain(modules.iter().copied()).collect(),
        }
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

    /// The nearest instruction's line that is the program's own, where this one's is in Rust's standard library: functions of
    /// `core` are inlined, and the records do not say into which line.
    pub fn own_line(&self, btf: &Btf, insn: InsnIndex) -> Option<SourceLine> {
        let lines = self.line_info.as_ref().ok()?;
        let own = lines
            .iter()
            .filter(|line| !is_library_file(btf.name(line.file_name)));
        let nearest = own.min_by_key(|line| {
            // What stands behind it is more likely to be the line it was inlined into.
            let before = line.insn_off < insn.0;
            (line.insn_off.abs_diff(insn.0), before)
        })?;
        self.source_line(btf, InsnIndex(nearest.insn_off))
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

/// What is known of the machine while an object is planned for it.
struct Machine<'a> {
    target: &'a Target,
    answers: Answers,
    /// Answered when the first program asks; an object without relocations never touches the kernel's types.
    core: OnceCell<Relocations>,
}

impl Spec {
    /// Plans all programs of the object for a machine.
    pub fn plan(&self, target: &Target) -> Plan {
        let all: Vec<&ProgramSpec> = self.programs.iter().collect();
        self.plan_programs(&all, target)
    }

    /// The functions of a program that was planned of this `Spec`, as they stand in the object, the program's own first.
    pub fn originals<'a>(&'a self, program: &'a ProgramPlan) -> impl Iterator<Item = Original<'a>> {
        program.placed.iter().filter_map(|place| {
            let function = self.functions.get(place.function)?;
            let code = self.code.get(function.code)?;
            let start = function.start as usize;
            Some(Original {
                at: place.at,
                name: &function.name,
                section: &code.name,
                start: InsnIndex(function.start),
                insns: code.insns.get(start..start + function.len as usize)?,
                references: &code.references,
            })
        })
    }

    /// Plans some of the programs (of this `Spec`), with all maps.
    pub fn plan_programs(&self, programs: &[&ProgramSpec], target: &Target) -> Plan {
        let mut plan = Plan {
            btf: self.btf.clone(),
            maps: self
                .maps
                .iter()
                .map(|map| self.plan_map(map, target))
                .collect(),
            programs: Vec::with_capacity(programs.len()),
            failed: Vec::new(),
            license: self.license.clone(),
            kernel_version: self.kernel_version,
        };
        let mut answers = self.ask(programs, target);
        let mut arenas = plan.maps.iter().filter(|map| map.spec.globals.is_some());
        answers.arena_at = arenas.next().map_or(0, |map| map.spec.contents_at);
        let machine = Machine {
            target,
            answers,
            core: OnceCell::new(),
        };
        let config = plan.maps.iter_mut().find(|map| map.spec.name == KCONFIG);
        if let (Some(map), Some(values)) = (config, &machine.answers.config) {
            map.spec.contents = Some(values.clone());
        }
        let mut total = 0;
        for program in programs {
            let planned = self.plan_program(program, &machine).and_then(|planned| {
                total += planned.insns.len();
                if total > MAX_INSNS {
                    return Err(ObjectError::request(format!(
                        "the programs have more than {MAX_INSNS} instructions together"
                    )));
                }
                Ok(planned)
            });
            match planned {
                Ok(planned) => plan.programs.push(planned),
                Err(error) => plan.failed.push(((*program).clone(), error)),
            }
        }
        plan
    }

    fn plan_map(&self, map: &MapSpec, target: &Target) -> MapPlan {
        let mut spec = map.clone();
        adjust(&mut spec);
        arena::place(&mut spec, target.page_size);
        if let Some(inner) = &mut spec.inner {
            adjust(inner);
        }
        MapPlan {
            kernel_name: kernel_name(&self.name, &spec),
            spec,
        }
    }

    fn plan_program(
        &self,
        program: &ProgramSpec,
        machine: &Machine<'_>,
    ) -> Result<ProgramPlan, ObjectError> {
        if let Some(error) = &program.broken {
            return Err(error.clone());
        }
        let mut kind = kind(program)?;
        let attach = machine
            .answers
            .attach(&kind.target)
            .map_err(|why| ObjectError::in_section(&program.section, why))?;
        if let Some(member) = attach.member {
            kind.attach_type = AttachType(member);
        }
        let mut layout = Layout::of(self, &machine.answers, program.function)?;
        let (fitted, mut poisoned) =
            self.relocate_types(&mut layout, machine.target, &machine.core)?;
        poisoned.append(&mut layout.poisoned);
        let function = |index: usize| {
            let function = &self.functions[index];
            (self.code[function.code].name.as_str(), function)
        };
        let (func_info, line_info) = match (&self.btf, self.records.absent()) {
            (Some(btf), None) => (
                self.records.func_info(&layout.placed, function),
                self.records
                    .line_info(btf, &layout.insns, &layout.placed, function),
            ),
            (_, why) => {
                let why = why.unwrap_or_default().to_string();
                (Err(why.clone()), Err(why))
            }
        };
        Ok(ProgramPlan {
            name: program.name.clone(),
            section: program.section.clone(),
            kind,
            attach_btf_id: attach.to.id,
            attach_btf_module: attach.to.module,
            functions: layout
                .placed
                .iter()
                .map(|place| (place.at, self.functions[place.function].name.clone()))
                .collect(),
            func_info,
            line_info,
            patches: layout.patches,
            poisoned,
            fitted,
            modules: layout.modules,
            module_variables: layout.module_variables,
            placed: layout.placed,
            insns: layout.insns,
        })
    }

    /// Fits the instructions to the kernel's types (CO-RE), those of appended functions too. Gives the instructions
    /// that were fitted, and those that must never run in this kernel, each with the reason.
    fn relocate_types(
        &self,
        layout: &mut Layout<'_>,
        target: &Target,
        core: &OnceCell<Relocations>,
    ) -> Result<(Vec<FittedInsn>, Vec<Poisoned>), ObjectError> {
        let (mut fitted, mut poisoned) = (Vec::new(), Vec::new());
        let Some(btf) = &self.btf else {
            return Ok((fitted, poisoned));
        };
        let kernel = Kernel {
            types: target.types.as_ref(),
            modules: &target.modules,
        };
        for place in layout.placed.clone() {
            let function = &self.functions[place.function];
            let section = &self.code[function.code].name;
            for relo in self.records.core_relos(section, function) {
                let core = core.get_or_init(|| {
                    Relocations::resolve(btf, self.records.all_core_relos(), kernel)
                });
                let at = InsnIndex(place.at.0 + relo.insn_off - function.start);
                match core.apply(btf, relo, &mut layout.insns, at) {
                    Ok(Applied::Patched { original, new }) => fitted.push(FittedInsn {
                        at,
                        relo: *relo,
                        original,
                        new,
                    }),
                    Ok(Applied::Poisoned(why)) => poisoned.push((at, why)),
                    Err(cause) => return Err(layout.error(function, relo.insn_off, cause)),
                }
            }
        }
        Ok((fitted, poisoned))
    }
}

/// An instruction that must never run, and why.
type Poisoned = (InsnIndex, Arc<str>);

fn kind(program: &ProgramSpec) -> Result<ProgramKind, ObjectError> {
    let fail = |cause: String| Err(ObjectError::in_section(&program.section, cause));
    match &program.kind {
        SectionKind::Known(kind) => Ok(kind.clone()),
        SectionKind::Unsupported { what, why } => {
            fail(format!("`{}` is a {what} program: {why}", program.name))
        }
        SectionKind::Unknown => fail(format!(
            "the section's name does not say what type of program `{}` is\n  try:  --type {}=xdp",
            program.name, program.name
        )),
    }
}
