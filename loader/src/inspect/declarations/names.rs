//! An identifier for each type. Objects have names that a language does not (`Option<&Flow>`), and several types of one name.

use std::collections::{HashMap, HashSet};

use xdplb_linker::btf::{Btf, Kind, TypeId, valid_name};

use super::Language;

const C_WORDS: &str = "auto bool break case char const continue default do double else enum extern float for goto if inline \
    int long register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while \
    _Bool _Complex _Atomic alignas alignof asm constexpr false nullptr static_assert thread_local true typeof";
const RUST_WORDS: &str = "abstract as async await become box break const continue crate do dyn else enum extern false final \
    fn for gen if impl in let loop macro match mod move mut override priv pub ref return self Self static struct super trait \
    true try type typeof union unsafe unsized use virtual where while yield _ \
    u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 bool char str Option Copy Clone";

/// The identifiers.
pub(super) struct Names<'a> {
    btf: &'a Btf,
    language: Language,
    /// Those that differ from what [`identifier`] makes of the name.
    made: HashMap<TypeId, String>,
    /// Enumerators by enumeration and number, likewise.
    values: HashMap<(TypeId, usize), String>,
}

/// A name that a compiler takes, however it was written.
pub(super) fn identifier(name: &str, language: Language) -> String {
    let words = match language {
        Language::C => C_WORDS,
        Language::Rust => RUST_WORDS,
    };
    let mut made = valid_name(name).into_owned();
    // The compiler's own, such as `__builtin_va_list`, are not ours to declare.
    let reserved = language == Language::C && made.starts_with("__builtin_");
    if reserved || words.split_whitespace().any(|word| word == made) {
        made.push('_');
    }
    made
}

impl<'a> Names<'a> {
    /// Each by itself; two types of one name get one identifier.
    pub(super) fn plain(btf: &'a Btf, language: Language) -> Self {
        Names {
            btf,
            language,
            made: HashMap::new(),
            values: HashMap::new(),
        }
    }

    /// No two that must differ are the same. C has two spaces of names: tags, and all else.
    pub(super) fn unique(btf: &'a Btf, language: Language) -> Self {
        let mut names = Self::plain(btf, language);
        let (mut tags, mut others) = (HashSet::new(), HashSet::new());
        // A forward declaration and its definition have one name on purpose.
        let mut forward: HashMap<String, TypeId> = HashMap::new();
        for (id, ty) in btf.iter() {
            let made = names.of(id);
            let (is_tag, counts) = match &ty.kind {
                Kind::Struct(_) | Kind::Union(_) | Kind::Enum(_) | Kind::Enum64(_) => (true, true),
                Kind::Fwd(_) => {
                    forward.insert(made, id);
                    continue;
                }
                Kind::Typedef(_) | Kind::Var(_) | Kind::Func(_) => (false, true),
                // Equal integers need one declaration; the first makes it.
                Kind::Int(_) | Kind::Float { .. } => (false, false),
                _ => continue,
            };
            let space = match (language, is_tag) {
                (Language::C, true) => &mut tags,
                (Language::C, false) | (Language::Rust, _) => &mut others,
            };
            if !counts {
                space.insert(made);
                continue;
            }
            let free = unique(space, made, id.0);
            if let Some(free) = free {
                names.made.insert(id, free);
            }
        }
        let mut values: Vec<(TypeId, Vec<&str>)> = Vec::new();
        for (id, ty) in btf.iter() {
            let of = match &ty.kind {
                Kind::Enum(e) => e.values.iter().map(|value| value.name).collect::<Vec<_>>(),
                Kind::Enum64(e) => e.values.iter().map(|value| value.name).collect(),
                _ => continue,
            };
            values.push((id, of.into_iter().map(|name| btf.name(name)).collect()));
        }
        for (id, of) in values {
            let mut own = HashSet::new();
            let owner = names.of(id);
            // Rust's enumerators live in their enumeration.
            let space = match language {
                Language::C => &mut others,
                Language::Rust => &mut own,
            };
            for (index, name) in of.into_iter().enumerate() {
                let plain = identifier(name, language);
                if space.insert(plain.clone()) {
                    continue;
                }
                let longer = format!("{owner}_{plain}");
                let made = unique(space, longer.clone(), index as u32).unwrap_or(longer);
                names.values.insert((id, index), made);
            }
        }
        names
    }

    /// A type's identifier; a nameless one's is made of its number.
    pub(super) fn of(&self, id: TypeId) -> String {
        if let Some(made) = self.made.get(&id) {
            return made.clone();
        }
        match self.btf.type_name(id) {
            "" => format!("anon_{}", id.0),
            name => identifier(name, self.language),
        }
    }

    /// An enumerator's.
    pub(super) fn value(&self, of: TypeId, index: usize, name: &str) -> String {
        let made = self.values.get(&(of, index));
        made.cloned()
            .unwrap_or_else(|| identifier(name, self.language))
    }
}

/// Takes the name if it is free; else takes and gives one that is.
fn unique(space: &mut HashSet<String>, name: String, number: u32) -> Option<String> {
    if space.insert(name.clone()) {
        return None;
    }
    let mut other = format!("{name}__{number}");
    while !space.insert(other.clone()) {
        other.push('_');
    }
    Some(other)
}
