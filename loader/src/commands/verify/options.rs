//! `--type`, `--max-entries`, `--inner` and `--set`: read from the command line, and applied to the objects that they fit.

use std::str::FromStr;

use super::UsageError;
use crate::object::{ObjectError, ProgramKind, Spec};

/// `[PROGRAM=]TYPE`.
#[derive(Clone, Debug)]
pub(super) struct TypeOf {
    program: Option<String>,
    kind: ProgramKind,
    text: String,
}

impl FromStr for TypeOf {
    type Err = ObjectError;

    fn from_str(text: &str) -> Result<Self, ObjectError> {
        let (program, kind) = match text.split_once('=') {
            Some((program, kind)) => (Some(program.to_string()), kind),
            None => (None, text),
        };
        Ok(TypeOf {
            program,
            kind: ProgramKind::named(kind)?,
            text: text.to_string(),
        })
    }
}

/// `MAP=N`.
#[derive(Clone, Debug)]
pub(super) struct Entries {
    map: String,
    entries: u32,
}

impl FromStr for Entries {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (map, number) = name_and_value(text, "MAP=N")?;
        match number.parse() {
            Ok(entries) => Ok(Entries {
                map: map.to_string(),
                entries,
            }),
            Err(_) => Err(format!("`{number}` is not a number of entries")),
        }
    }
}

/// `MAP=OTHER`.
#[derive(Clone, Debug)]
pub(super) struct Inner {
    map: String,
    like: String,
}

impl FromStr for Inner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (map, like) = name_and_value(text, "MAP=OTHER")?;
        Ok(Inner {
            map: map.to_string(),
            like: like.to_string(),
        })
    }
}

/// `NAME=VALUE`.
#[derive(Clone, Debug)]
pub(super) struct Value {
    name: String,
    value: String,
}

impl FromStr for Value {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = name_and_value(text, "NAME=VALUE")?;
        Ok(Value {
            name: name.to_string(),
            value: value.to_string(),
        })
    }
}

fn name_and_value<'a>(text: &'a str, form: &str) -> Result<(&'a str, &'a str), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name, value)),
        _ => Err(format!("not of the form {form}")),
    }
}

/// What the command line asks for beside what the objects say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings<'a> {
    pub(super) types: &'a [TypeOf],
    pub(super) max_entries: &'a [Entries],
    pub(super) inner: &'a [Inner],
    pub(super) values: &'a [Value],
}

/// Which of the settings fitted an object, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fits {
    types: Vec<Fit>,
    max_entries: Vec<Fit>,
    inner: Vec<Fit>,
    values: Vec<Fit>,
    /// The names that the last object has, for who asked for another.
    known: Known,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    programs: Vec<String>,
    maps: Vec<String>,
    variables: Vec<String>,
}

impl Known {
    fn of(spec: &Spec) -> Self {
        Known {
            programs: spec.programs.iter().map(|p| p.name.clone()).collect(),
            maps: spec.maps().iter().map(|map| map.name.clone()).collect(),
            variables: spec.global_names().map(str::to_string).collect(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    No,
    Yes,
}

impl Settings<'_> {
    pub(super) fn is_empty(self) -> bool {
        self.types.is_empty()
            && self.max_entries.is_empty()
            && self.inner.is_empty()
            && self.values.is_empty()
    }

    /// Applies what fits the object. A value that the object's variable cannot take is an error.
    pub(super) fn apply(self, spec: &mut Spec, path: &str) -> Result<Fits, UsageError> {
        let mut fits = Fits::none(self);
        if !self.is_empty() {
            fits.known = Known::of(spec);
        }
        for (fit, TypeOf { program, kind, .. }) in fits.types.iter_mut().zip(self.types) {
            let has = program
                .as_ref()
                .is_none_or(|name| spec.program(name).is_some());
            *fit = apply(has, || spec.set_kind(program.as_deref(), kind.clone()))
                .map_err(|error| UsageError(format!("{path}: {error}")))?;
        }
        for (fit, Entries { map, entries }) in fits.max_entries.iter_mut().zip(self.max_entries) {
            *fit = apply(spec.map(map).is_some(), || {
                spec.set_max_entries(map, *entries)
            })
            .map_err(|error| {
                UsageError(format!("--max-entries {map}={entries}: {path}: {error}"))
            })?;
        }
        for (fit, Inner { map, like }) in fits.inner.iter_mut().zip(self.inner) {
            let has = spec.map(map).is_some() && spec.map(like).is_some();
            *fit = apply(has, || spec.set_inner(map, like))
                .map_err(|error| UsageError(format!("--inner {map}={like}: {path}: {error}")))?;
        }
        for (fit, Value { name, value }) in fits.values.iter_mut().zip(self.values) {
            // A path such as `limits.burst` names a member of a variable.
            let variable = name.split(['.', '[']).next().unwrap_or_default();
            let has = spec
                .global_names()
                .any(|known| known == variable || known == name);
            *fit = apply(has, || spec.set_value(name, value))
                .map_err(|error| UsageError(format!("--set {name}={value}: {path}: {error}")))?;
        }
        Ok(fits)
    }
}

fn apply(has: bool, set: impl FnOnce() -> Result<(), ObjectError>) -> Result<Fit, ObjectError> {
    if !has {
        return Ok(Fit::No);
    }
    set().map(|()| Fit::Yes)
}

impl Fits {
    pub(super) fn none(settings: Settings<'_>) -> Self {
        Fits {
            types: vec![Fit::No; settings.types.len()],
            max_entries: vec![Fit::No; settings.max_entries.len()],
            inner: vec![Fit::No; settings.inner.len()],
            values: vec![Fit::No; settings.values.len()],
            known: Known::default(),
        }
    }

    /// What fitted another object too.
    pub(super) fn add(&mut self, other: Fits) {
        let pairs = [
            (&mut self.types, other.types),
            (&mut self.max_entries, other.max_entries),
            (&mut self.inner, other.inner),
            (&mut self.values, other.values),
        ];
        for (all, more) in pairs {
            for (fit, other) in all.iter_mut().zip(more) {
                *fit = (*fit).max(other);
            }
        }
        self.known = other.known;
    }

    /// The first setting that fits none of the objects is an error.
    pub(super) fn check(&self, settings: Settings<'_>, objects: usize) -> Result<(), UsageError> {
        let who = match objects {
            1 => "the object has",
            _ => "none of the objects has",
        };
        let missing = |what: &str, name: &str, known: &[String]| match (objects, known) {
            (1, []) => format!("{who} no {what} `{name}`, and no other"),
            (1, known) => format!("{who} no {what} `{name}`\n  has:  {}", few(known)),
            _ => format!("{who} a {what} `{name}`"),
        };
        let types = self.types.iter().zip(settings.types).map(|(fit, asked)| {
            let name = asked.program.as_deref().unwrap_or_default();
            (
                *fit,
                format!("--type {}", asked.text),
                missing("program", name, &self.known.programs),
            )
        });
        let entries = self.max_entries.iter().zip(settings.max_entries);
        let entries = entries.map(|(fit, asked)| {
            let option = format!("--max-entries {}={}", asked.map, asked.entries);
            (*fit, option, missing("map", &asked.map, &self.known.maps))
        });
        let inner = self.inner.iter().zip(settings.inner).map(|(fit, asked)| {
            let option = format!("--inner {}={}", asked.map, asked.like);
            let both = format!("{}` and `{}", asked.map, asked.like);
            (*fit, option, missing("maps", &both, &self.known.maps))
        });
        let values = self.values.iter().zip(settings.values).map(|(fit, asked)| {
            let option = format!("--set {}={}", asked.name, asked.value);
            (
                *fit,
                option,
                missing("variable", &asked.name, &self.known.variables),
            )
        });
        for (fit, option, why) in types.chain(entries).chain(inner).chain(values) {
            if fit == Fit::No {
                return Err(UsageError(format!("{option}: {why}")));
            }
        }
        Ok(())
    }
}

/// As many names as one reads at a glance.
fn few(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let mut text = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn refused<T: FromStr<Err: ToString>>(text: &str) -> String {
        match T::from_str(text) {
            Ok(_) => "accepted".into(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn options_are_read_or_say_what_is_wrong() {
        assert_eq!(refused::<Entries>("flows=1024"), "accepted");
        assert_eq!(
            refused::<Entries>("flows=many"),
            "`many` is not a number of entries"
        );
        assert_eq!(
            refused::<Entries>("flows=-1"),
            "`-1` is not a number of entries"
        );
        assert_eq!(refused::<Entries>("1024"), "not of the form MAP=N");
        assert_eq!(refused::<Inner>("outer"), "not of the form MAP=OTHER");
        assert_eq!(refused::<Value>("=3"), "not of the form NAME=VALUE");
        assert_eq!(refused::<Value>("LIMIT="), "accepted");
        assert_eq!(refused::<TypeOf>("main=xdp"), "accepted");
        let unknown = refused::<TypeOf>("main=xpd");
        assert!(
            unknown.starts_with("`xpd` names no type of program: ")
                && unknown.contains("xdp, tc, "),
            "{unknown}"
        );
    }
}
