//! Rejections in words: what the verifier's sentence means to the author of the program, and the usual cure.

use super::log::LogSummary;

/// What a rejection means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InWords {
    /// What the verifier could not accept, in a sentence.
    pub meaning: &'static str,
    /// What usually helps, where the log's last state supports it.
    pub cure: Option<&'static str>,
}

/// Finds the words for a summed-up log.
pub(super) fn find(_summary: &LogSummary) -> Option<InWords> {
    None
}
