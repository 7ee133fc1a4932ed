//! func_info and line_info: gathered for one program, counted in its instructions, and checked against the kernel's rules.
//!
//! The kernel wants func_info to have exactly one record a subprogram, the first at 0, and line_info to have one at the first
//! instruction of each, none on the second slot of a ld_imm64, both strictly ascending (`check_btf_func` and `check_btf_line`
//! in kernel/bpf/verifier.c). Records that break a rule would fail the whole program, so they are left out, with the reason.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use xdplb_linker::btf::{Btf, TypeId};
use xdplb_linker::btf_ext::{BtfExt, CoreRelo, FuncInfo, Group, LineInfo, Record, encode_records};
use xdplb_linker::elf::Object;
use xdplb_linker::insn::{self, Insn, InsnIndex};

use super::ObjectError;
use super::btf::relocated;
use super::spec::Function;

/// The records of the object, by section of code, ascending, with offsets in instructions.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    func_info: HashMap<String, Vec<FuncInfo>>,
    line_info: HashMap<String, Vec<LineInfo>>,
    core_relos: HashMap<String, Vec<CoreRelo>>,
    absent: Option<String>,
}

/// A function's place in a program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    /// Index into `Spec::functions`.
    pub(super) function: usize,
    /// Where its first instruction went.
    pub(super) at: InsnIndex,
}

/// Where an instruction comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// As the compiler was given it.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// The text of the line; often empty in Rust objects.
    pub text: String,
}

impl std::fmt::Display for SourceLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl Records {
    /// Reads `.BTF.ext`. A broken one is left out, as by libbpf: programs load without.
    pub(super) fn read(
        object: &Object<'_>,
        btf: Option<&Btf>,
        no_types: Option<ObjectError>,
    ) -> Self {
        let absent = |why: String| Records {
            absent: Some(why),
            ..Self::default()
        };
        let Some(btf) = btf else {
            return absent(no_types.map_or_else(String::new, |why| why.to_string()));
        };
        let Some((_, section)) = object.section_named(".BTF.ext") else {
            return absent("the object has no .BTF.ext".into());
        };
        let ext = match BtfExt::parse(&relocated(object, section)) {
            Ok(ext) => ext,
            Err(error) => return absent(error.to_string()),
        };
        Records {
            func_info: by_section(ext.func_info, btf),
            line_info: by_section(ext.line_info, btf),
            core_relos: by_section(ext.core_relos, btf),
            absent: None,
        }
    }

    /// Why there are none at all, where that is so.
    pub(super) fn absent(&self) -> Option<&str> {
        self.absent.as_deref()
    }

    /// The source lines of a section, ascending.
    pub(super) fn lines(&self, section: &str) -> &[LineInfo] {
        self.line_info.get(section).map_or(&[], Vec::as_slice)
    }

    /// The BTF function that begins at an instruction of a section.
    pub(super) fn function_type(&self, section: &str, insn: u32) -> Option<TypeId> {
        let records = self.func_info.get(section)?;
        let at = records.partition_point(|record| record.insn_off < insn);
        let record = records.get(at)?;
        (record.insn_off == insn).then_some(record.type_id)
    }

    /// The CO-RE relocations of a section, ascending.
    pub(super) fn core_relos_in(&self, section: &str) -> &[CoreRelo] {
        self.core_relos.get(section).map_or(&[], Vec::as_slice)
    }

    /// Whether anything is to be looked up in the kernel's types.
    pub(super) fn has_core_relos(&self) -> bool {
        self.core_relos.values().any(|relos| !relos.is_empty())
    }

    /// The CO-RE relocations of a function, ascending; their `insn_off` counts instructions of the section.
    pub(super) fn core_relos(&self, section: &str, function: &Function) -> &[CoreRelo] {
        let relos = self.core_relos.get(section).map_or(&[][..], Vec::as_slice);
        let first = relos.partition_point(|relo| relo.insn_off < function.start);
        let end = relos.partition_point(|relo| relo.insn_off < function.start + function.len);
        &relos[first..end.max(first)]
    }

    /// All CO-RE relocations of the object.
    pub(super) fn all_core_relos(&self) -> impl Iterator<Item = &CoreRelo> {
        self.core_relos.values().flatten()
    }

    /// The func_info of a program laid out so; `Err` says why it has none.
    pub(super) fn func_info<'a>(
        &self,
        placed: &[Placed],
        function: impl Fn(usize) -> (&'a str, &'a Function),
    ) -> Result<Vec<FuncInfo>, String> {
        placed
            .iter()
            .map(|place| {
                let (section, function) = function(place.function);
                let records = self.func_info.get(section).map_or(&[][..], Vec::as_slice);
                let at = records.partition_point(|record| record.insn_off < function.start);
                match records.get(at) {
                    Some(record) if record.insn_off == function.start => Ok(record.at(place.at.0)),
                    _ => Err(format!("function `{}` has no func_info", function.name)),
                }
            })
            .collect()
    }

    /// The line_info of a program laid out so; `Err` says why it has none.
    pub(super) fn line_info<'a>(
        &self,
        btf: &Btf,
        insns: &[Insn],
        placed: &[Placed],
        function: impl Fn(usize) -> (&'a str, &'a Function),
    ) -> Result<Vec<LineInfo>, String> {
        let mut lines: Vec<LineInfo> = Vec::new();
        for place in placed {
            let (section, function) = function(place.function);
            let records = self.line_info.get(section).map_or(&[][..], Vec::as_slice);
            let first = records.partition_point(|record| record.insn_off < function.start);
            let end = function.start + function.len;
            let own = records[first..]
                .iter()
                .take_while(|record| record.insn_off < end);
            let before = lines.len();
            for record in own {
                let at = record.insn_off - function.start + place.at.0;
                let strings = btf.strings.len();
                let named =
                    (record.file_name.0 as usize) < strings && (record.line.0 as usize) < strings;
                if named && lines.last().is_none_or(|last| last.insn_off < at) {
                    lines.push(record.at(at));
                }
            }
            if lines
                .get(before)
                .is_none_or(|first| first.insn_off != place.at.0)
            {
                return Err(format!(
                    "function `{}` has no source line at its beginning",
                    function.name
                ));
            }
        }
        // A record on the second slot of a ld_imm64 belongs to no instruction. Both ascend.
        let mut steps = insn::steps(insns).map(|step| step.at.0).peekable();
        lines.retain(|line| {
            while steps.next_if(|&at| at < line.insn_off).is_some() {}
            steps.peek() == Some(&line.insn_off)
        });
        lines.shrink_to_fit();
        Ok(lines)
    }
}

/// Groups by the text of the section's name, with offsets turned into instruction counts, ascending.
fn by_section<R: Record + Copy>(groups: Vec<Group<R>>, btf: &Btf) -> HashMap<String, Vec<R>> {
    let mut sections: HashMap<String, Vec<R>> = HashMap::new();
    for group in groups {
        let Group {
            section,
            mut records,
        } = group;
        for record in &mut records {
            *record = record.at(record.insn_off() / Insn::SIZE as u32);
        }
        match sections.entry(btf.name(section).to_string()) {
            Entry::Vacant(entry) => drop(entry.insert(records)),
            Entry::Occupied(mut entry) => entry.get_mut().append(&mut records),
        }
    }
    sections
        .values_mut()
        .for_each(|records| records.sort_by_key(Record::insn_off));
    sections
}

/// The bytes of records, as the kernel takes them.
pub(super) fn encode<R: Record>(records: &[R]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_records(records, &mut bytes);
    bytes
}
