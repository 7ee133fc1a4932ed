//! The relocations of an object, answered for one kernel, and put into the instructions of its programs.
//!
//! Equal questions are answered once. Where several types of the kernel fit, their answers must agree; those that fit
//! one path of the object are then the only ones for its other paths through the same type, as in libbpf.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use xdplb_linker::btf::{Btf, MAX_TEXT, StrId, TypeId};
use xdplb_linker::btf_ext::CoreRelo;
use xdplb_linker::insn::{Insn, InsnIndex};

use super::access::Path;
use super::answer::{Answer, Outcome};
use super::candidates::{Candidate, Candidates, Kernel, list};
use super::compatible::{Pair, Work};
use super::kind::{Question, Subject};
use super::matching::NoPath;
use super::patch::{Unpatched, patch, poison};
use super::view::{Types, essential};

/// All of an object's relocations, answered.
#[derive(Debug, Default)]
pub struct Relocations {
    answers: HashMap<Key, Resolved>,
    texts: Texts,
}

/// What makes relocations equal: root, path, question.
type Key = (TypeId, StrId, u32);

#[derive(Clone, Debug)]
enum Resolved {
    /// To be written into the instruction.
    Answer(Answer),
    /// The instruction must not run: why, and which candidates there were.
    Nothing(Arc<str>),
    /// The program cannot be loaded.
    Error(Arc<str>),
}

/// What became of an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was rewritten for this kernel: the number that the compiler wrote, and the one that took its place.
    Patched {
        /// What the object's own types say.
        original: u64,
        /// What this kernel's say.
        new: u64,
    },
    /// It was replaced by a call that the verifier refuses if the program can get there; the text says why.
    Poisoned(Arc<str>),
}

impl Relocations {
    /// Answers all relocations of an object. `local` is its BTF; where the kernel has no types every answer that needs
    /// them is an error.
    pub fn resolve<'r>(
        local: &Btf,
        relos: impl Iterator<Item = &'r CoreRelo>,
        kernel: Kernel<'_>,
    ) -> Self {
        let mut keys: Vec<Key> = relos
            .map(|relo| (relo.type_id, relo.access, relo.kind))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        let own = Question::TypeIdLocal as u32;
        let roots = keys.iter().filter(|key| key.2 != own).map(|key| key.0);
        let mut resolver = Resolver {
            local,
            kernel,
            candidates: Candidates::find(local, roots, kernel),
            work: Work::default(),
            texts: Texts::default(),
        };
        let mut resolved: HashMap<Key, Resolved> = HashMap::with_capacity(keys.len());
        for &key in &keys {
            let answer = resolver.relocation(key);
            resolved.insert(key, answer);
        }
        // A later path may have ruled out the candidate that made an earlier one ambiguous.
        for &key in &keys {
            if matches!(resolved.get(&key), Some(Resolved::Error(_))) {
                let answer = resolver.relocation(key);
                resolved.insert(key, answer);
            }
        }
        Relocations {
            answers: resolved,
            texts: resolver.texts,
        }
    }

    /// Puts the answer to `relo` (one of those given to [`Self::resolve`]) into the instruction at `at`. `Err` says why
    /// the program cannot be loaded.
    pub fn apply(
        &self,
        local: &Btf,
        relo: &CoreRelo,
        insns: &mut [Insn],
        at: InsnIndex,
    ) -> Result<Applied, String> {
        let index = at.0 as usize;
        let answer = match self.answers.get(&(relo.type_id, relo.access, relo.kind)) {
            Some(Resolved::Answer(answer)) => answer,
            Some(Resolved::Nothing(why)) => {
                poison(insns, index);
                return Ok(Applied::Poisoned(why.clone()));
            }
            Some(Resolved::Error(why)) => return Err(why.to_string()),
            None => return Err("a CO-RE relocation was never looked up".into()),
        };
        match patch(insns, index, answer) {
            Ok(()) => Ok(Applied::Patched {
                original: answer.original,
                new: answer.new,
            }),
            Err(Unpatched::Refused(cause)) => Err(format!("{}: {cause}", title(local, relo))),
            Err(Unpatched::Poisoned(cause)) => {
                poison(insns, index);
                let why = || format!("{}: {cause}", title(local, relo));
                Ok(Applied::Poisoned(self.texts.tell(why)))
            }
        }
    }
}

/// The texts of one object's failures, which a made-up object could have a million long ones of.
#[derive(Debug)]
struct Texts {
    /// Bytes that may still be told.
    left: Cell<usize>,
    /// What is said of all others.
    short: Arc<str>,
}

impl Default for Texts {
    fn default() -> Self {
        Texts {
            left: Cell::new(1 << 20),
            short: "a CO-RE relocation failed, as many others of this object did".into(),
        }
    }
}

impl Texts {
    fn tell(&self, text: impl FnOnce() -> String) -> Arc<str> {
        if self.left.get() == 0 {
            return self.short.clone();
        }
        let mut text = text();
        if text.len() > MAX_TEXT {
            let whole = (0..=MAX_TEXT).rev().find(|&at| text.is_char_boundary(at));
            text.truncate(whole.unwrap_or(0));
            text.push('…');
        }
        self.left.set(self.left.get().saturating_sub(text.len()));
        text.into()
    }
}

/// ``CO-RE relocation `struct sk_buff.len (0:1)` byte_off``.
fn title(local: &dyn Types, relo: &CoreRelo) -> String {
    match Question::of(relo.kind) {
        None => format!("CO-RE relocation of kind {}", relo.kind),
        Some(_) => {
            let (what, word) = question(local, relo);
            format!("CO-RE relocation `{what}` {word}")
        }
    }
}

/// What a relocation is about, `struct sk_buff.len (0:1)`, and what it asks of it, `byte_off`.
pub(crate) fn question(local: &dyn Types, relo: &CoreRelo) -> (String, &'static str) {
    let whole = || {
        format!(
            "{} + `{}`",
            local.title(relo.type_id),
            local.text(relo.access)
        )
    };
    let Some(question) = Question::of(relo.kind) else {
        return (whole(), "unknown");
    };
    let what = match Path::read(local, relo, question) {
        Ok(path) => path.readable(local),
        Err(_) => whole(),
    };
    (what, question.word())
}

struct Resolver<'a> {
    local: &'a Btf,
    kernel: Kernel<'a>,
    candidates: Candidates<'a>,
    work: Work,
    texts: Texts,
}

impl<'a> Resolver<'a> {
    fn relocation(&mut self, key: Key) -> Resolved {
        let relo = CoreRelo {
            insn_off: 0,
            type_id: key.0,
            access: key.1,
            kind: key.2,
        };
        self.answer(&relo).unwrap_or_else(|cause| {
            let text = || format!("{}: {cause}", title(self.local, &relo));
            Resolved::Error(self.texts.tell(text))
        })
    }

    fn answer(&mut self, relo: &CoreRelo) -> Result<Resolved, String> {
        let local: &dyn Types = self.local;
        let question =
            Question::of(relo.kind).ok_or("it is newer than this program, which knows 0 to 12")?;
        let path = Path::read(local, relo, question)?;
        let alone = Pair {
            local,
            target: local,
            work: &self.work,
        };
        if question == Question::TypeIdLocal {
            return Ok(self.resolved(alone.answer(question, &path, None)?, String::new));
        }
        if local.name_of(relo.type_id).is_empty() {
            return Err("a type without a name cannot be looked up".into());
        }
        if self.kernel.types.is_none() {
            return Err(
                "it is to be looked up in the kernel's types, and there are none (CONFIG_DEBUG_INFO_BTF)"
                    .into(),
            );
        }
        let mut tried = Vec::new();
        let mut fitting: Vec<(Candidate<'a>, Path, Outcome)> = Vec::new();
        for &candidate in self.candidates.of(relo.type_id) {
            let pair = Pair {
                local,
                target: candidate.types,
                work: &self.work,
            };
            let found = match pair.follow(question, &path, candidate.id) {
                Ok(found) => found,
                Err(NoPath::Mismatch(why)) => {
                    tried.push((candidate, why));
                    continue;
                }
                Err(NoPath::Broken(why)) => return Err(format!("{}: {why}", candidate.title())),
            };
            let outcome = pair.answer(question, &path, Some(&found))?;
            if let Some(first) = fitting.first() {
                agree(
                    question,
                    first,
                    &(candidate, found.clone(), outcome.clone()),
                )?;
            }
            fitting.push((candidate, found, outcome));
        }
        let Some((_, _, outcome)) = fitting.first() else {
            let outcome = alone.answer(question, &path, None)?;
            return Ok(self.resolved(outcome, || {
                let title = title(local, relo);
                let list = list(&tried, &wanted(local, relo.type_id), self.kernel);
                format!("{title} finds nothing in this kernel's types\n{list}")
            }));
        };
        let outcome = outcome.clone();
        let kept = fitting.iter().map(|(candidate, _, _)| *candidate).collect();
        self.candidates.keep(relo.type_id, kept);
        Ok(self.resolved(outcome, String::new))
    }

    fn resolved(&self, outcome: Outcome, why: impl FnOnce() -> String) -> Resolved {
        match outcome {
            Outcome::Answer(answer) => Resolved::Answer(answer),
            Outcome::Nothing => Resolved::Nothing(self.texts.tell(why)),
        }
    }
}

/// `struct sk_buff`, without a flavour: what the kernel was searched for.
fn wanted(local: &dyn Types, root: TypeId) -> String {
    let title = local.title(root);
    let flavour = local.name_of(root).len() - essential(local.name_of(root).as_bytes()).len();
    title[..title.len() - flavour].to_string()
}

/// All types that fit must lead to one answer.
fn agree(
    question: Question,
    first: &(Candidate<'_>, Path, Outcome),
    other: &(Candidate<'_>, Path, Outcome),
) -> Result<(), String> {
    let value = |outcome: &Outcome| match outcome {
        Outcome::Answer(answer) => Some(answer.new),
        Outcome::Nothing => None,
    };
    let tell = |this: &(Candidate<'_>, Path, Outcome)| {
        let what = match (question.subject(), value(&this.2)) {
            (_, None) => "nothing".to_string(),
            (Subject::Field, Some(value)) if !this.1.bits.is_multiple_of(8) => {
                format!("{value} (bit {})", this.1.bits)
            }
            (_, Some(value)) => (value as i64).to_string(),
        };
        format!("{} gives {what}", this.0.title())
    };
    if first.1.bits == other.1.bits && value(&first.2) == value(&other.2) {
        return Ok(());
    }
    Err(format!(
        "it is ambiguous: {}, {}\n  try:  a flavour (`___…`) with a member that only the one that is meant has",
        tell(first),
        tell(other)
    ))
}
