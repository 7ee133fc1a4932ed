//! What an object names of the kernel, looked up once for all its programs: externs, and what programs attach to.

use std::collections::{BTreeSet, HashMap};

use xdplb_linker::btf::{Btf, TypeId};

use super::core::{Shape, TypeKind, Types, types_compatible};
use super::externs::{Expected, Extern};
use super::kconfig::{self, WRAPPERS};
use super::similar;
use super::{AttachTarget, KernelTypes, Needs, ProgramSpec, SectionKind, Spec, Target};

/// An id among the kernel's types, or those of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KernelId {
    pub(super) id: u32,
    /// The module's BTF object, or 0 for the kernel's own types.
    pub(super) module: u32,
}

/// What a program attaches to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attach {
    pub(super) to: KernelId,
    /// For a function of a struct of operations: the number of the member, which the attach type names.
    pub(super) member: Option<u32>,
}

impl Attach {
    const NOTHING: Self = Attach {
        to: KernelId { id: 0, module: 0 },
        member: None,
    };
}

/// What an extern turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A value at this place in the map of the configuration.
    Config(u32),
    /// An address.
    Address(u64),
    /// A variable or function by its type.
    Id(KernelId),
    /// Not there, and the program can do without.
    Absent,
}

/// The answers. Each missing name is an error of the programs that use it, and of no other.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) externs: Vec<Result<Found, String>>,
    attach: HashMap<AttachTarget, Result<Attach, String>>,
    /// The configuration's values, as the map holds them.
    pub(super) config: Option<Vec<u8>>,
    /// Where in the object's arena its global variables begin.
    pub(super) arena_at: u32,
}

/// A name to look up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Wanted {
    kind: TypeKind,
    /// The name as the kernel's types have it: with the prefix of its kind.
    name: String,
    prefix: &'static str,
    /// Only in this module.
    module: Option<String>,
}

impl AttachTarget {
    /// What to look up; `None` for what attaches to nothing.
    fn wanted(&self) -> Option<Wanted> {
        let (kind, prefix, name) = match self {
            AttachTarget::None => return None,
            AttachTarget::Function(name) => (TypeKind::Func, "", name),
            AttachTarget::RawTracepoint(name) => (TypeKind::Typedef, "btf_trace_", name),
            AttachTarget::Lsm(name) => (TypeKind::Func, "bpf_lsm_", name),
            AttachTarget::Iter(name) => (TypeKind::Func, "bpf_iter_", name),
            AttachTarget::Member { ops, .. } => (TypeKind::Struct, "", ops),
        };
        let (module, name) = match name.split_once(':') {
            Some((module, name)) => (Some(module.to_string()), name),
            None => (None, name.as_str()),
        };
        Some(Wanted {
            kind,
            name: format!("{prefix}{name}"),
            prefix,
            module,
        })
    }

    fn what(&self) -> &'static str {
        match self {
            AttachTarget::None => "nothing",
            AttachTarget::Function(_) => "function",
            AttachTarget::RawTracepoint(_) => "raw tracepoint",
            AttachTarget::Lsm(_) => "security hook",
            AttachTarget::Iter(_) => "iterator",
            AttachTarget::Member { .. } => "struct",
        }
    }
}

/// What a program attaches to, where its kind is known.
fn attach_target(program: &ProgramSpec) -> Option<&AttachTarget> {
    match &program.kind {
        SectionKind::Known(kind) if kind.target != AttachTarget::None => Some(&kind.target),
        SectionKind::Known(_) | SectionKind::Unsupported { .. } | SectionKind::Unknown => None,
    }
}

impl Extern {
    fn wanted(&self) -> Option<Wanted> {
        let kind = match self.what {
            Expected::Config { .. } | Expected::Address => return None,
            Expected::Variable(_) => TypeKind::Var,
            Expected::Function(_) => TypeKind::Func,
        };
        let name = super::core::essential(self.name.as_bytes());
        Some(Wanted {
            kind,
            name: String::from_utf8_lossy(name).into_owned(),
            prefix: "",
            module: None,
        })
    }
}

impl Spec {
    /// What must be read of the machine to plan this object.
    pub fn needs(&self) -> Needs {
        let mut needs = Needs {
            kernel_types: self.records.has_core_relos()
                || self.programs.iter().any(|p| attach_target(p).is_some()),
            ..Needs::default()
        };
        for one in &self.externs.all {
            match &one.what {
                Expected::Config { .. } if self.externs.is_given(&one.name) => {}
                Expected::Config { .. } => match one.name.as_str() {
                    "LINUX_KERNEL_VERSION" | "LINUX_HAS_BPF_COOKIE" => needs.version = true,
                    "LINUX_HAS_SYSCALL_WRAPPER" => {
                        needs.symbols.extend(WRAPPERS.map(String::from));
                    }
                    name => {
                        needs.config.insert(name.to_string());
                    }
                },
                Expected::Address => {
                    needs.symbols.insert(one.name.clone());
                }
                Expected::Variable(_) | Expected::Function(_) => needs.kernel_types = true,
            }
        }
        needs
    }

    /// Looks up everything that these programs name, in one walk over the kernel's types.
    pub(super) fn ask(&self, programs: &[&ProgramSpec], target: &Target) -> Answers {
        let targets: BTreeSet<_> = programs.iter().filter_map(|p| attach_target(p)).collect();
        let wanted: Vec<Wanted> = targets
            .iter()
            .filter_map(|target| target.wanted())
            .chain(self.externs.all.iter().filter_map(Extern::wanted))
            .collect();
        let names = Names::look_up(&wanted, target);
        let attach = targets
            .into_iter()
            .map(|target| (target.clone(), names.attach(target)))
            .collect();
        let mut answers = Answers {
            externs: Vec::with_capacity(self.externs.all.len()),
            attach,
            config: self
                .map(super::externs::KCONFIG)
                .and_then(|map| map.contents.clone()),
            arena_at: 0,
        };
        for one in &self.externs.all {
            let found = match one.what {
                Expected::Config { offset, .. } if self.externs.is_given(&one.name) => {
                    Ok(Found::Config(offset))
                }
                _ => answers.extern_value(one, self.btf(), target, &names),
            };
            answers.externs.push(found);
        }
        answers
    }
}

impl Answers {
    /// What a program of this kind attaches to; 0 for nothing.
    pub(super) fn attach(&self, target: &AttachTarget) -> Result<Attach, String> {
        let found = self.attach.get(target).cloned();
        found.unwrap_or(Ok(Attach::NOTHING))
    }

    fn extern_value(
        &mut self,
        one: &Extern,
        local: Option<&Btf>,
        target: &Target,
        names: &Names<'_>,
    ) -> Result<Found, String> {
        let absent = |why: String| match one.weak {
            true => Ok(Found::Absent),
            false => Err(why),
        };
        let name = &one.name;
        match &one.what {
            Expected::Config { ty, offset, size } => {
                let ty = ty
                    .clone()
                    .map_err(|why| format!("`{name}` has no value: {why}"))?;
                let value = kconfig::value(name, ty, *size, target)
                    .map_err(|why| format!("`{name}` has no value: {why}"))?;
                let Some(value) = value else {
                    // A weak one reads as zero, which the map holds already.
                    return absent(format!("this kernel's configuration does not set `{name}`\n  try:  --set {name}=VALUE"))
                        .map(|_| Found::Config(*offset));
                };
                let at = *offset as usize;
                if let Some(place) = self
                    .config
                    .as_mut()
                    .and_then(|c| c.get_mut(at..at + value.len()))
                {
                    place.copy_from_slice(&value);
                }
                Ok(Found::Config(*offset))
            }
            Expected::Address => match target.symbols.get(name) {
                Some(address) => Ok(Found::Address(*address)),
                None => absent(format!("this kernel has no symbol `{name}`")),
            },
            Expected::Variable(_) | Expected::Function(_) => {
                let what = match one.what {
                    Expected::Function(_) => "function",
                    _ => "variable",
                };
                let Some(wanted) = one.wanted() else {
                    return absent(String::new());
                };
                match names.found.get(&wanted) {
                    Some(id) if names.fits(local, &one.what, *id) => Ok(Found::Id(*id)),
                    Some(_) => absent(format!(
                        "this kernel's {what} `{}` has another type than the object expects",
                        wanted.name
                    )),
                    None => absent(names.missing(what, &wanted)),
                }
            }
        }
    }
}

/// The names that were found, and for those that were not the ones like them.
struct Names<'a> {
    target: &'a Target,
    found: HashMap<Wanted, KernelId>,
    similar: HashMap<Wanted, Vec<String>>,
}

impl<'a> Names<'a> {
    fn look_up(wanted: &[Wanted], target: &'a Target) -> Self {
        let mut names = Names {
            target,
            found: HashMap::new(),
            similar: HashMap::new(),
        };
        let mut open: Vec<&Wanted> = wanted.iter().filter(|w| w.name != w.prefix).collect();
        if let (Some(types), false) = (&target.types, open.is_empty()) {
            names.search(types, "vmlinux", 0, &mut open);
        }
        if !open.is_empty() {
            for module in target.modules.all() {
                names.search(&module.types, &module.name, module.btf_id, &mut open);
            }
        }
        if let (Some(types), false) = (&target.types, open.is_empty()) {
            let missing: Vec<(TypeKind, &str, &str)> = open
                .iter()
                .map(|wanted| (wanted.kind, wanted.prefix, wanted.name.as_str()))
                .collect();
            let near = similar::names(types, &missing);
            names.similar = open.into_iter().cloned().zip(near).collect();
        }
        names
    }

    fn search(&mut self, types: &KernelTypes, name: &str, module: u32, open: &mut Vec<&Wanted>) {
        let here = |w: &Wanted| w.module.as_deref().is_none_or(|module| module == name);
        let asked: Vec<&Wanted> = open.iter().filter(|w| here(w)).copied().collect();
        let query: Vec<(TypeKind, &str)> =
            asked.iter().map(|w| (w.kind, w.name.as_str())).collect();
        for (wanted, id) in asked.into_iter().zip(types.find_all(&query)) {
            if let Some(id) = id {
                let id = KernelId { id: id.0, module };
                self.found.insert(wanted.clone(), id);
            }
        }
        open.retain(|wanted| !self.found.contains_key(*wanted));
    }

    /// Whether the kernel's variable or function is what the object takes it for.
    fn fits(&self, local: Option<&Btf>, expected: &Expected, id: KernelId) -> bool {
        let (Some(local), Some(types)) = (local, self.types(id)) else {
            return false;
        };
        let theirs = types.ty(TypeId(id.id)).map(|ty| ty.shape);
        match (expected, theirs) {
            (Expected::Variable(ours), Some(Shape::Var(theirs)))
            | (Expected::Function(ours), Some(Shape::Func(theirs))) => {
                types_compatible(local, *ours, types, theirs)
            }
            _ => false,
        }
    }

    fn attach(&self, target: &AttachTarget) -> Result<Attach, String> {
        let Some(wanted) = target.wanted() else {
            return Ok(Attach::NOTHING);
        };
        if wanted.name == wanted.prefix {
            return Err(format!(
                "the section's name does not say which {} to attach to",
                target.what()
            ));
        }
        let Some(&to) = self.found.get(&wanted) else {
            return Err(self.missing(target.what(), &wanted));
        };
        let member = match target {
            AttachTarget::Member { ops, member } => {
                Some(self.member(to, member).ok_or_else(|| {
                    format!("this kernel's struct `{ops}` has no member `{member}`")
                })?)
            }
            AttachTarget::None
            | AttachTarget::Function(_)
            | AttachTarget::RawTracepoint(_)
            | AttachTarget::Lsm(_)
            | AttachTarget::Iter(_) => None,
        };
        Ok(Attach { to, member })
    }

    /// The number of a member of one of the kernel's structs.
    fn member(&self, of: KernelId, name: &str) -> Option<u32> {
        let types = self.types(of)?;
        let ty = types.ty(TypeId(of.id))?;
        let named = |index: &u32| {
            let member = types.member(&ty, *index);
            member.is_some_and(|member| types.text(member.name) == name)
        };
        (0..ty.composite()?.len).find(named)
    }

    /// The types that an id is of.
    fn types(&self, of: KernelId) -> Option<&KernelTypes> {
        let module = |id| self.target.modules.all().iter().find(|m| m.btf_id == id);
        match of.module {
            0 => self.target.types.as_ref(),
            id => module(id).map(|module| &module.types),
        }
    }

    fn missing(&self, what: &str, wanted: &Wanted) -> String {
        let name = wanted
            .name
            .strip_prefix(wanted.prefix)
            .unwrap_or(&wanted.name);
        if self.target.types.is_none() {
            return format!(
                "the kernel's types are not known, in which the {what} `{name}` would be looked up (a kernel built with CONFIG_DEBUG_INFO_BTF has them in /sys/kernel/btf/vmlinux)"
            );
        }
        let place = match &wanted.module {
            Some(module) => format!("the types of module `{module}` have"),
            None => "this kernel's types have".to_string(),
        };
        let mut text = format!("{place} no {what} `{name}`");
        if let Some(similar) = self.similar.get(wanted).filter(|names| !names.is_empty()) {
            text.push_str("\n  similar: ");
            text.push_str(&similar.join(", "));
        }
        text
    }
}
