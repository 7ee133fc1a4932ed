//! What the linker tells of its work when asked: why something stays, where everything lies, what went.
//!
//! The reports read the values that the passes made; none of them decides anything.

mod gc;
mod map;
mod names;
mod why;

use super::LinkError;
use super::place::Layout;
use super::view::View;
use crate::elf::write::{Content, Image};

/// Something to tell about a link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Report {
    /// Why a function, variable or section stays, as the references that lead to it from a root. The name may be a
    /// symbol's, a Rust path, or the end of one.
    WhyLive(String),
    /// Every symbol of the output: where it lies, its size, and which input it is from.
    Map,
    /// What the inputs have and the output has not.
    Dropped,
}

/// The texts of all reports, in the order in which they were asked for.
pub(super) fn reports(
    view: &View<'_, '_>,
    layout: &Layout<'_>,
    image: &Image,
) -> Result<Vec<String>, LinkError> {
    let reports = view.options.reports.iter();
    reports
        .map(|report| match report {
            Report::WhyLive(name) => why::report(view, name),
            Report::Map => Ok(map::report(view, layout, image)),
            Report::Dropped => Ok(gc::report(view, image)),
        })
        .collect()
}

/// Whether every name that a report asks about exists: said before the link fails for other reasons.
pub(super) fn check_names(view: &View<'_, '_>) -> Result<(), LinkError> {
    for report in &view.options.reports {
        if let Report::WhyLive(name) = report {
            names::find(view, name)?;
        }
    }
    Ok(())
}

/// Bytes of a section of the output.
fn size(content: &Content) -> u64 {
    match content {
        Content::Code(bytes)
        | Content::ReadOnly(bytes)
        | Content::Data(bytes)
        | Content::Metadata(bytes) => bytes.len() as u64,
        Content::Zeroed(size) => *size,
    }
}
