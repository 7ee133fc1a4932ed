//! What the checks found: a problem at a place, with the evidence and what to try.

use std::fmt;

use super::{Problem, Site};

/// How many are printed in full; a link that fails a hundred times over has one cause.
const MAX_PRINTED: usize = 20;

/// Something the kernel would refuse, or (as a warning) might.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The place, in the words of who has to look there.
    pub site: Box<Site>,
    /// What is wrong there.
    pub problem: Problem,
    /// Evidence, a line each.
    pub notes: Vec<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.site, self.problem)?;
        write!(f, "{}", self.site.source_line())?;
        for note in &self.notes {
            write!(f, "\n  {note}")?;
        }
        write!(f, "{}", self.site.reached())?;
        match self.problem.advice() {
            Some(advice) => write!(f, "\n  try:  {advice}"),
            None => Ok(()),
        }
    }
}

/// All of a link's refusals as one text; whoever prints it puts `error: ` before the first.
pub(super) fn joined(refusals: &[Refusal]) -> String {
    let mut text = refusals
        .iter()
        .take(MAX_PRINTED)
        .map(Refusal::to_string)
        .collect::<Vec<_>>()
        .join("\nerror: ");
    if let Some(more @ 1..) = refusals.len().checked_sub(MAX_PRINTED) {
        text += &format!("\n({more} more)");
    }
    text
}
