//! The object for one who only looks at it (`crate::inspect`): functions with their instructions, lines and types, what each
//! refers to, what is expected of the kernel. Nothing here is worked out a second time: it is what plans are made of.

use xdplb_linker::btf::{Btf, TypeId};
use xdplb_linker::btf_ext::LineInfo;
use xdplb_linker::elf::{Object, SectionIndex};
use xdplb_linker::insn::{Insn, Step};
use xdplb_linker::link::frames::Referent;

use super::aim::Aim;
use super::core::question;
use super::externs::{Expected, Extern};
use super::{MapSpec, ObjectError, PatchTarget, ProgramSpec, Spec, btf};

/// A section of code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CodeOutline<'a> {
    pub(crate) name: &'a str,
    pub(crate) section: SectionIndex,
    pub(crate) insns: &'a [Insn],
    pub(crate) broken: Option<&'a ObjectError>,
}

/// A function, counted in instructions from the start of its section.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FunctionOutline<'a> {
    pub(crate) name: &'a str,
    /// Counts the sections of code.
    pub(crate) code: usize,
    pub(crate) start: u32,
    pub(crate) len: u32,
}

/// What a name of the kernel is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A value of its configuration, so many bytes into the map of all of them.
    Config { offset: u32 },
    /// The address of a symbol.
    Address,
    /// A variable with a type.
    Variable(TypeId),
    /// A function: its prototype.
    Function(TypeId),
}

/// The object's types as its file has them, with the places of variables filled in.
pub(crate) fn file_types(object: &Object<'_>) -> Result<Btf, ObjectError> {
    btf::read(object)
}

impl Spec {
    /// The sections of code.
    pub(crate) fn code_outlines(&self) -> impl Iterator<Item = CodeOutline<'_>> {
        self.code.iter().map(|code| CodeOutline {
            name: &code.name,
            section: code.section,
            insns: &code.insns,
            broken: code.broken.as_ref(),
        })
    }

    /// All functions, in the order in which [`Aim::Function`] counts them.
    pub(crate) fn function_outlines(&self) -> impl Iterator<Item = FunctionOutline<'_>> {
        self.functions.iter().map(|function| FunctionOutline {
            name: &function.name,
            code: function.code,
            start: function.start,
            len: function.len,
        })
    }

    /// A program's own function.
    pub(crate) fn own_function(&self, program: &ProgramSpec) -> usize {
        program.function
    }

    /// Why a program cannot be loaded from this file, whatever the kernel.
    pub(crate) fn why_broken<'a>(&self, program: &'a ProgramSpec) -> Option<&'a ObjectError> {
        program.broken.as_ref()
    }

    /// What an instruction of a function refers to; `insn` counts instructions of its section.
    pub(crate) fn aim_of(
        &self,
        function: usize,
        insn: u32,
        step: Step,
    ) -> Result<Aim, ObjectError> {
        let Some(function) = self.functions.get(function) else {
            return Ok(Aim::Nothing);
        };
        self.aim(function, insn, step)
    }

    /// The same in the words of the check of stacks.
    pub(crate) fn referent_of<'a>(&self, aim: &'a Result<Aim, ObjectError>) -> Referent<'a, usize> {
        match aim {
            Ok(Aim::Nothing) => Referent::Nothing,
            Ok(Aim::Function(function)) => Referent::Function(*function),
            Ok(Aim::Kernel(name)) => Referent::Kernel(name),
            Ok(Aim::Map { .. }) | Err(_) => Referent::Other,
        }
    }

    /// The source lines of a section, ascending; they count its instructions.
    pub(crate) fn lines_of(&self, section: &str) -> &[LineInfo] {
        self.records.lines(section)
    }

    /// The BTF function that begins at an instruction of a section.
    pub(crate) fn type_at(&self, section: &str, insn: u32) -> Option<TypeId> {
        self.records.function_type(section, insn)
    }

    /// Why there are no source lines and no types of functions, where that is so.
    pub(crate) fn no_records(&self) -> Option<&str> {
        self.records.absent()
    }

    /// The questions to the kernel's types in a section: the instruction, what is asked, and for which word of libbpf's.
    pub(crate) fn questions(&self, section: &str) -> Vec<(u32, String, &'static str)> {
        let Some(btf) = &self.btf else {
            return Vec::new();
        };
        let relos = self.records.core_relos_in(section).iter();
        relos
            .map(|relo| {
                let (what, word) = question(btf.as_ref(), relo);
                (relo.insn_off, what, word)
            })
            .collect()
    }

    /// What the object expects of the kernel: name, what, whether it can do without.
    pub(crate) fn expectations(&self) -> impl Iterator<Item = (&str, Wanted, bool)> {
        let all = self.externs.all.iter();
        all.map(|one| (one.name.as_str(), wanted(one), one.weak))
    }

    /// The one with this name.
    pub(crate) fn expectation(&self, name: &str) -> Option<(Wanted, bool)> {
        let (_, one) = self.externs.find(name)?;
        Some((wanted(one), one.weak))
    }

    /// Where in the file a map is defined: the section, and bytes into it.
    pub(crate) fn map_place(&self, map: &MapSpec) -> (SectionIndex, u64) {
        map.place
    }

    /// The map that a target is, or is in.
    pub(crate) fn map_of(&self, target: PatchTarget) -> Option<&MapSpec> {
        let (PatchTarget::Map(map) | PatchTarget::MapValue { map, .. }) = target;
        self.maps.get(map)
    }

    /// The variables of a map of global data: name, offset, size.
    pub(crate) fn variables_of(&self, map: &str) -> Vec<(&str, u64, u64)> {
        let Some(index) = self.maps.iter().position(|found| found.name == map) else {
            return Vec::new();
        };
        let mut found: Vec<_> = self
            .globals
            .iter()
            .filter(|global| global.map == index)
            .map(|global| (global.name.as_str(), global.offset, global.size))
            .collect();
        found.sort_by_key(|(_, offset, _)| *offset);
        found
    }
}

fn wanted(one: &Extern) -> Wanted {
    match one.what {
        Expected::Config { offset, .. } => Wanted::Config { offset },
        Expected::Address => Wanted::Address,
        Expected::Variable(ty) => Wanted::Variable(ty),
        Expected::Function(ty) => Wanted::Function(ty),
    }
}
