//! The book, and every other page of this repository: what its tests read of it.
//!
//! A fenced block whose first word is `console` is run by the tests: lines that begin with `$ ` are commands (a line
//! that ends with `\` goes on in the next), the lines below one are what it prints ([`compare`]). Further words of the fence:
//!
//! | word | |
//! |---|---|
//! | `exact` | numbers count too |
//! | `fails` | the block's last command ends with an error |
//! | `not-run="…"` | it is not run, for this reason |
//!
//! `file=PATH` on a block of another language: the block is the contents of that file, for the commands behind it.

pub mod compare;
pub mod links;
pub mod session;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// A page: a Markdown file of the repository.
#[derive(Debug)]
pub struct Page {
    /// Its path from the repository's root.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// Its fenced blocks, in order.
    pub blocks: Vec<Block>,
    /// What it links to and shows: files, anchors, addresses.
    pub links: Vec<Link>,
    /// The anchors of its headings.
    pub anchors: Vec<String>,
    /// The words in backticks, in the running text.
    pub names: Vec<Named>,
}

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The line its fence stands in, from 1.
    pub line: usize,
    /// The first word of the fence.
    pub language: String,
    /// What is to be done with it.
    pub kind: Kind,
    /// Its text.
    pub text: String,
}

/// What is to be done with a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Shown,
    /// To be written to this path.
    File(String),
    /// To be run.
    Run(Run),
    /// Commands that are not run, and why.
    NotRun(String),
}

/// How the commands of a block are held against its text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Run {
    /// Whether numbers count.
    pub exact: bool,
    /// Whether the last command ends with an error.
    pub fails: bool,
}

/// A link or a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The line it stands in, from 1.
    pub line: usize,
    /// Where it leads, as written.
    pub to: String,
    /// For a picture, its text alternative.
    pub picture: Option<String>,
}

/// A word in backticks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The line it stands in, from 1.
    pub line: usize,
    /// The heading of the second level that it stands under.
    pub section: String,
    /// The word.
    pub word: String,
}

/// A command and what it prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// As a shell takes it.
    pub command: String,
    /// The lines below it.
    pub expected: String,
}

/// The repository's root.
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// Every page: those at the root, and all below docs/; by path.
pub fn pages() -> Result<Vec<Page>> {
    let root = root();
    let mut files = markdown(&root)?;
    let mut open = vec![root.join("docs")];
    while let Some(folder) = open.pop() {
        files.append(&mut markdown(&folder)?);
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() && entry.file_name() != "target" {
                open.push(entry.path());
            }
        }
    }
    files.sort();
    files.iter().map(|file| Page::read(&root, file)).collect()
}

fn markdown(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    Ok(found)
}

impl Page {
    fn read(root: &Path, file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let path = file.strip_prefix(root)?.to_path_buf();
        Self::parse(path.clone(), text).with_context(|| path.display().to_string())
    }

    /// Reads a page's text.
    ///
    /// # Errors
    /// A fence with a word that means nothing.
    pub fn parse(path: PathBuf, text: String) -> Result<Self> {
        let options = Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES;
        let mut page = Page {
            path,
            blocks: Vec::new(),
            links: Vec::new(),
            anchors: Vec::new(),
            names: Vec::new(),
            text: String::new(),
        };
        let mut block: Option<Block> = None;
        let mut heading: Option<String> = None;
        let mut section = String::new();
        for (event, range) in Parser::new_ext(&text, options).into_offset_iter() {
            let line = 1 + text[..range.start].matches('\n').count();
            match event {
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                    block = Some(fence(line, &info).with_context(|| format!("line {line}"))?);
                }
                Event::End(TagEnd::CodeBlock) => page.blocks.extend(block.take()),
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(level)) => {
                    let words = heading.take().unwrap_or_default();
                    page.anchors.push(anchor(&words, &page.anchors));
                    if level as usize == 2 {
                        section = words;
                    }
                }
                Event::Start(Tag::Link { dest_url, .. }) => page.links.push(Link {
                    line,
                    to: dest_url.to_string(),
                    picture: None,
                }),
                Event::Start(Tag::Image { dest_url, .. }) => page.links.push(Link {
                    line,
                    to: dest_url.to_string(),
                    picture: Some(alternative(&text[range])),
                }),
                Event::Text(words) => {
                    if let Some(block) = &mut block {
                        block.text.push_str(&words);
                    }
                    if let Some(heading) = &mut heading {
                        heading.push_str(&words);
                    }
                }
                Event::Code(word) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&word);
                    }
                    page.names.push(Named {
                        line,
                        section: section.clone(),
                        word: word.to_string(),
                    });
                }
                _ => {}
            }
        }
        page.text = text;
        Ok(page)
    }

    /// What errors call a line of it.
    pub fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }
}

/// The text alternative of a picture, as it is written: `![text](file)`.
fn alternative(picture: &str) -> String {
    let text = picture.strip_prefix("![").unwrap_or_default();
    text.split("](").next().unwrap_or_default().to_owned()
}

/// The anchor that GitHub and mdBook give a heading: letters and digits in lower case, spaces as hyphens; the second of
/// a name gets `-1`.
pub fn anchor(heading: &str, others: &[String]) -> String {
    let plain: String = heading
        .trim()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            c if c.is_alphanumeric() => c.to_lowercase().next(),
            _ => None,
        })
        .collect();
    let numbered = (1..).map(|number| format!("{plain}-{number}"));
    let mut names = std::iter::once(plain.clone()).chain(numbered);
    let free = names.find(|name| !others.contains(name));
    free.unwrap_or(plain)
}

fn fence(line: usize, info: &str) -> Result<Block> {
    let (language, rest) = info.split_once([' ', ',']).unwrap_or((info, ""));
    let console = language == "console";
    let mut run = Run::default();
    let mut kind = Kind::Shown;
    let mut rest = rest.trim();
    while !rest.is_empty() {
        if let Some(reason) = rest.strip_prefix("not-run=\"") {
            let Some((reason, after)) = reason.split_once('"') else {
                bail!("the reason behind `not-run=` does not end");
            };
            kind = Kind::NotRun(reason.to_owned());
            rest = after.trim_start();
            continue;
        }
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        match (word, word.strip_prefix("file=")) {
            ("exact", _) if console => run.exact = true,
            ("fails", _) if console => run.fails = true,
            (_, Some(path)) if !console => kind = Kind::File(path.to_owned()),
            _ => bail!("`{word}` means nothing on a fence of `{language}`"),
        }
        rest = after.trim_start();
    }
    if console && kind == Kind::Shown {
        kind = Kind::Run(run);
    }
    Ok(Block {
        line,
        language: language.to_owned(),
        kind,
        text: String::new(),
    })
}

impl Block {
    /// The commands of a `console` block.
    ///
    /// # Errors
    /// Text before the first command.
    pub fn commands(&self) -> Result<Vec<Command>> {
        let mut commands: Vec<Command> = Vec::new();
        let mut lines = self.text.lines();
        while let Some(line) = lines.next() {
            if let Some(first) = line.strip_prefix("$ ") {
                let mut command = first.to_owned();
                while command.ends_with('\\') {
                    command.push('\n');
                    command.push_str(lines.next().context("the last command does not end")?);
                }
                commands.push(Command {
                    command,
                    expected: String::new(),
                });
            } else {
                let last = commands.last_mut();
                let last = last.context("a console block begins with a line `$ command`")?;
                last.expected.push_str(line);
                last.expected.push('\n');
            }
        }
        Ok(commands)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const PAGE: &str = "# One `two`, three\n\nSee [it](a.md#b) and ![a picture](x.svg) and `name`.\n\n```console exact\n$ echo a \\\n  b\na b\n$ true\n```\n\n\
        ## Files\n\n```rust file=x.rs\nfn x() {}\n```\n\n```console not-run=\"it takes an hour\" fails\n$ sleep 3600\n```\n\n## Files\n";

    fn page() -> Page {
        Page::parse("p.md".into(), PAGE.into()).unwrap()
    }

    #[test]
    fn a_page_is_read() {
        let page = page();
        assert_eq!(page.anchors, ["one-two-three", "files", "files-1"]);
        let to: Vec<&str> = page.links.iter().map(|link| link.to.as_str()).collect();
        assert_eq!(to, ["a.md#b", "x.svg"]);
        assert_eq!(page.links[1].picture.as_deref(), Some("a picture"));
        assert_eq!(
            (page.names[1].word.as_str(), page.names[1].line),
            ("name", 3)
        );
        let kinds: Vec<&Kind> = page.blocks.iter().map(|block| &block.kind).collect();
        let run = Run {
            exact: true,
            fails: false,
        };
        let expected = [
            Kind::Run(run),
            Kind::File("x.rs".into()),
            Kind::NotRun("it takes an hour".into()),
        ];
        assert_eq!(kinds, expected.iter().collect::<Vec<_>>());
        assert_eq!(page.blocks[0].line, 5);
    }

    #[test]
    fn commands_have_the_lines_below_them() {
        let commands = page().blocks[0].commands().unwrap();
        assert_eq!(commands[0].command, "echo a \\\n  b");
        assert_eq!(commands[0].expected, "a b\n");
        assert_eq!(commands[1].command, "true");
        assert_eq!(commands[1].expected, "");
    }

    #[test]
    fn what_means_nothing_is_an_error() {
        for text in [
            "```console exakt\n```\n",
            "```rust exact\n```\n",
            "```console not-run=\"x\n```\n",
        ] {
            assert!(Page::parse("p.md".into(), text.into()).is_err(), "{text}");
        }
        let page = Page::parse("p.md".into(), "```console\nls\n```\n".into()).unwrap();
        assert!(page.blocks[0].commands().is_err());
    }
}
