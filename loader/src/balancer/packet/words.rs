//! The words of a line, each with its place, so that every error can mark one.

use std::ops::Range;

use super::super::excerpt::{ConfigError, Place, Source, brief};

/// A word and where it stands.
#[derive(Debug, Clone)]
pub(in super::super) struct Word<'t> {
    pub text: &'t str,
    pub span: Range<usize>,
}

/// The words of a text.
pub(in super::super) fn words(text: &str) -> Vec<Word<'_>> {
    let start = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
    let words = text.split_whitespace().map(|word| Word {
        text: word,
        span: start(word)..start(word) + word.len(),
    });
    words.collect()
}

/// Words that are still to be read.
pub(in super::super) struct Words<'t> {
    source: Source<'t>,
    words: std::vec::IntoIter<Word<'t>>,
}

impl<'t> Words<'t> {
    pub(in super::super) fn of(name: &'t str, text: &'t str) -> Self {
        let place = Place::Column;
        Self {
            source: Source { name, text, place },
            words: words(text).into_iter(),
        }
    }

    pub(in super::super) fn next(&mut self) -> Option<Word<'t>> {
        self.words.next()
    }

    /// The same, without taking it.
    pub(in super::super) fn peek(&self) -> Option<Word<'t>> {
        self.words.as_slice().first().cloned()
    }

    /// The next word, which has to be there.
    pub(in super::super) fn need(&mut self, what: &str) -> Result<Word<'t>, ConfigError> {
        let end = self.source.text.trim_end().len();
        let missing = || self.source.error(end..end, format!("{what} is missing"));
        self.words.next().ok_or_else(missing)
    }

    pub(in super::super) fn error(&self, word: &Word<'_>, what: String) -> ConfigError {
        self.source.error(word.span.clone(), what)
    }

    /// A number between these, both included.
    pub(in super::super) fn number(
        &mut self,
        what: &str,
        from: u32,
        to: u32,
    ) -> Result<u32, ConfigError> {
        let word = self.need(&format!("{what}: a number from {from} to {to}"))?;
        let digits = word.text.bytes().all(|byte| byte.is_ascii_digit());
        let number = word
            .text
            .parse()
            .ok()
            .filter(|number| digits && (from..=to).contains(number));
        number.ok_or_else(|| {
            let text = brief(word.text);
            self.error(
                &word,
                format!("{what}: `{text}` is not a number from {from} to {to}"),
            )
        })
    }
}
