//! `--why-live`: the references that lead from a root to something.

use super::names::{self, Named};
use crate::elf::RelocationKind;
use crate::link::LinkError;
use crate::link::atoms::{AtomId, Home};
use crate::link::resolve::Target;
use crate::link::view::View;

/// Places that refer to something that went, at most.
const MAX_REFERRERS: usize = 8;

pub(super) fn report(view: &View<'_, '_>, name: &str) -> Result<String, LinkError> {
    let found = names::find(view, name)?;
    Ok(found.iter().map(|named| one(view, named)).collect())
}

fn one(view: &View<'_, '_>, named: &Named) -> String {
    let what = format!(
        "`{}` ({} bytes, {})",
        named.name,
        named.size,
        origin(view, named.atom)
    );
    if !view.live.contains(named.atom) {
        return format!("{what} is not in the output\n{}", dead(view, named.atom));
    }
    let way = view.live.way(named.atom, named.offset);
    let mut text = format!("{what} is in the output\n");
    if let Some((root, _)) = way.first() {
        text += &format!("  {}\n", why_root(view, *root));
    }
    for step in way.windows(2) {
        let ((by, at), (to, _)) = (step[0], step[1]);
        let to = if to == named.atom {
            named.name.clone()
        } else {
            view.name(to)
        };
        text += &format!("  {}\n", reference(view, by, at, &to));
    }
    text
}

/// Where an atom came from.
pub(super) fn origin(view: &View<'_, '_>, id: AtomId) -> String {
    let atom = view.atom(id);
    let module = &view.modules[atom.module.0];
    let section = module.object.sections[atom.section.0].name;
    format!("{section} of {}", module.name)
}

fn why_root(view: &View<'_, '_>, id: AtomId) -> String {
    let name = view.name(id);
    match view.atom(id).home {
        Home::Program(section) => format!("`{name}` is a program: section {section}"),
        Home::Named(section) => format!("`{name}` is for the loader: section {section}"),
        Home::ReadOnly(_) | Home::Data(_) | Home::Zeroed(_) | Home::Text => {
            format!("`{name}` is exported")
        }
    }
}

fn reference(view: &View<'_, '_>, by: AtomId, at: u64, to: &str) -> String {
    let verb = match view.reference_at(by, at) {
        Some(reference) => match (reference.kind, reference.target) {
            (RelocationKind::Call, _) => "calls",
            (_, Target::Atom { atom, .. }) if view.atom(atom).home.is_code() => {
                "takes the address of"
            }
            _ => "refers to",
        },
        None => "refers to",
    };
    let place = view.place(by, at);
    let source = match &place.source {
        Some(source) => format!(", {source}"),
        None => String::new(),
    };
    format!("`{}` {verb} `{to}` at {place}{source}", view.name(by))
}

/// Who refers to something that went: nobody, or what went too.
fn dead(view: &View<'_, '_>, id: AtomId) -> String {
    let mut lines = Vec::new();
    for by in view.atoms.ids() {
        for reference in view.references(by) {
            if matches!(reference.target, Target::Atom { atom, .. } if atom == id) && by != id {
                lines.push((by, reference.offset));
            }
        }
    }
    if lines.is_empty() {
        let cure = if view.atom(id).home.is_code() {
            ""
        } else {
            "; --export NAME keeps it"
        };
        return format!("  nothing refers to it{cure}\n");
    }
    let mut text = String::new();
    for (by, at) in lines.iter().take(MAX_REFERRERS) {
        let line = reference(view, *by, *at, &view.name(id));
        text += &format!("  {line}, and is not in the output either\n");
    }
    if let Some(more @ 1..) = lines.len().checked_sub(MAX_REFERRERS) {
        text += &format!("  and {more} more places\n");
    }
    text
}
