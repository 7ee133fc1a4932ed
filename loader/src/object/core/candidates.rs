//! Which types of the kernel may be meant by a type of the object: those of its name, flavours aside, and of its kind.
//!
//! All names that an object asks for are looked up in one walk over the kernel's types. Modules are looked at only for
//! names that the kernel itself does not have, as in libbpf.

use std::collections::HashMap;

use xdplb_linker::btf::TypeId;

use super::super::kernel_types::{KernelTypes, Modules};
use super::compatible::same_kind;
use super::view::{Types, essential};

/// Candidates listed in an error.
const LISTED: usize = 6;

/// The kernel's types and its modules'.
#[derive(Clone, Copy, Debug)]
pub struct Kernel<'a> {
    /// Its own; `None` where it has none, or none were read.
    pub types: Option<&'a KernelTypes>,
    /// Those of its modules.
    pub modules: &'a Modules,
}

/// A type that may be meant.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) types: &'a KernelTypes,
    pub(super) id: TypeId,
}

impl Candidate<'_> {
    /// `struct sk_buff [123] of vmlinux`.
    pub(super) fn title(&self) -> String {
        let types: &dyn Types = self.types;
        format!(
            "{} [{}] of {}",
            types.title(self.id),
            self.id.0,
            self.types.name()
        )
    }
}

/// The candidates of each type that the object's relocations start from.
#[derive(Default)]
pub(super) struct Candidates<'a>(HashMap<TypeId, Vec<Candidate<'a>>>);

impl<'a> Candidates<'a> {
    /// Looks up all of `roots`.
    pub(super) fn find(
        local: &dyn Types,
        roots: impl Iterator<Item = TypeId>,
        kernel: Kernel<'a>,
    ) -> Self {
        let mut found = Candidates(roots.map(|root| (root, Vec::new())).collect());
        if let Some(types) = kernel.types {
            found.search(local, types);
        }
        let missing = |list: &Vec<Candidate<'_>>| list.is_empty();
        if found.0.values().any(missing) {
            let mut others = Candidates(found.0.extract_if(|_, list| missing(list)).collect());
            for module in kernel.modules.all() {
                others.search(local, &module.types);
            }
            found.0.extend(others.0);
        }
        found
    }

    fn search(&mut self, local: &dyn Types, types: &'a KernelTypes) {
        let mut names: HashMap<&[u8], usize> = HashMap::new();
        let mut wanting: Vec<Vec<TypeId>> = Vec::new();
        for &root in self.0.keys() {
            let name = essential(local.name_of(root).as_bytes());
            if !name.is_empty() {
                let at = *names.entry(name).or_insert(wanting.len());
                match wanting.get_mut(at) {
                    Some(roots) => roots.push(root),
                    None => wanting.push(vec![root]),
                }
            }
        }
        if names.is_empty() {
            return;
        }
        types.visit_named(&names, &mut |at, id, _| {
            for root in &wanting[at] {
                let alike = matches!(
                    (local.ty(*root), types.ty(id)),
                    (Some(a), Some(b)) if same_kind(a, b)
                );
                if alike && let Some(list) = self.0.get_mut(root) {
                    list.push(Candidate { types, id });
                }
            }
        });
    }

    pub(super) fn of(&self, root: TypeId) -> &[Candidate<'a>] {
        self.0.get(&root).map_or(&[], Vec::as_slice)
    }

    /// From now on only these count for this root: a path of the object led through them and not through the others.
    pub(super) fn keep(&mut self, root: TypeId, kept: Vec<Candidate<'a>>) {
        self.0.insert(root, kept);
    }
}

/// `candidates: struct a [1] of vmlinux: why; …`, or that there are none.
pub(super) fn list(tried: &[(Candidate<'_>, String)], wanted: &str, kernel: Kernel<'_>) -> String {
    if tried.is_empty() {
        let where_ = match kernel.modules.all().len() {
            0 => "the kernel".to_string(),
            count => format!("the kernel and its {count} modules"),
        };
        return format!("candidates: none, {where_} has no {wanted}");
    }
    let mut listed: Vec<String> = tried
        .iter()
        .take(LISTED)
        .map(|(candidate, why)| format!("{}: {why}", candidate.title()))
        .collect();
    if tried.len() > LISTED {
        listed.push(format!("and {} more", tried.len() - LISTED));
    }
    format!("candidates: {}", listed.join("; "))
}
