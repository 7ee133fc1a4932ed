//! `--print-map`: the output, section by section and symbol by symbol.

use std::fmt::Write;

use super::size;
use super::why::origin;
use crate::elf::write::Image;
use crate::link::atoms::AtomId;
use crate::link::place::Layout;
use crate::link::source::readable;
use crate::link::view::View;

pub(super) fn report(view: &View<'_, '_>, layout: &Layout<'_>, image: &Image) -> String {
    let mut text = String::from("  offset     bytes  what\n");
    let mut total = 0;
    for (index, section) in image.sections.iter().enumerate() {
        let bytes = size(&section.content);
        total += bytes;
        line(&mut text, None, bytes, &section.name);
        // The sections after the layout's own are types, which no symbol names.
        let placed = layout.sections.get(index);
        for id in placed.iter().flat_map(|placed| &placed.atoms) {
            if let Some(location) = layout.place(*id) {
                atom(&mut text, view, *id, location.offset);
            }
        }
    }
    line(&mut text, None, total, "in all");
    text
}

/// The symbols of an atom, or its section where none lies in it.
fn atom(text: &mut String, view: &View<'_, '_>, id: AtomId, base: u64) {
    let atom = view.atom(id);
    let object = &view.modules[atom.module.0].object;
    let origin = origin(view, id);
    if atom.symbols.is_empty() {
        let what = format!("  (no symbol)  {origin}");
        line(text, Some(base), atom.end - atom.start, &what);
    }
    for symbol in atom.symbols.iter().map(|symbol| &object.symbols[symbol.0]) {
        let what = format!("  {}  {origin}", readable(symbol.name));
        line(
            text,
            Some(base + symbol.value - atom.start),
            symbol.size,
            &what,
        );
    }
}

fn line(text: &mut String, offset: Option<u64>, bytes: u64, what: &str) {
    let offset = offset
        .map(|offset| format!("{offset:#x}"))
        .unwrap_or_default();
    // Writing to a string does not fail.
    let _ = writeln!(text, "{offset:>8}  {bytes:>8}  {what}");
}
