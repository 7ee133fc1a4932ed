//! Response files: `@FILE` on the command line stands for the arguments in FILE, as with any linker. rustc writes one
//! where the command line would be too long for the system.

use std::ffi::OsString;

use anyhow::Context;

/// How deep response files may name others.
const MAX_DEPTH: usize = 8;
/// Most arguments that a command line may come to.
const MAX_ARGUMENTS: usize = 1 << 20;

/// The command line with every `@FILE` replaced. The program's name, the first, stays as it is.
pub(super) fn expand(args: impl IntoIterator<Item = OsString>) -> anyhow::Result<Vec<OsString>> {
    let mut args = args.into_iter();
    let mut expanded: Vec<OsString> = args.next().into_iter().collect();
    // What is left to look at, last first, each with the number of files it came through.
    let mut open: Vec<(OsString, usize)> = args.map(|arg| (arg, 0)).collect();
    open.reverse();
    while let Some((arg, depth)) = open.pop() {
        let Some(path) = arg.to_str().and_then(|arg| arg.strip_prefix('@')) else {
            expanded.push(arg);
            continue;
        };
        let text = std::fs::read_to_string(path).with_context(|| format!("read {path}"))?;
        anyhow::ensure!(
            depth < MAX_DEPTH && open.len() + expanded.len() < MAX_ARGUMENTS,
            "{path}: response files name each other without end"
        );
        let words = split(&text)
            .into_iter()
            .map(|word| (word.into(), depth + 1));
        open.extend(words.rev());
    }
    Ok(expanded)
}

/// Words between white space, as GNU ld splits them: quotes of both kinds hold words together, a backslash takes the
/// next letter as it is.
fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', _) => word.get_or_insert_default().extend(letters.next()),
            (letter, Some(open)) if letter == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (letter, None) if letter.is_whitespace() => words.extend(word.take()),
            (letter, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_linkers_do() {
        assert_eq!(
            split("-o out.o\n\"a b.o\" c\\ d.o"),
            ["-o", "out.o", "a b.o", "c d.o"]
        );
        assert_eq!(split("'it''s' \"\""), ["its", ""]);
        assert!(split(" \n").is_empty());
    }
}
