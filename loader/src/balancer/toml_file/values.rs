//! PURE: values of a TOML file, each with the bytes it stands at, as what they are meant to be.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::super::excerpt::{brief, nearest};
use super::super::service::Word;

/// Something wrong, and the bytes of the text that it is about.
#[derive(Debug)]
pub struct Wrong {
    /// Where.
    pub span: Range<usize>,
    /// What.
    pub what: String,
    /// Where the same came first, if it is a repetition.
    pub first: Option<usize>,
}

impl Wrong {
    /// Not a repetition.
    pub fn new(span: Range<usize>, what: String) -> Self {
        let first = None;
        Self { span, what, first }
    }

    /// The same is in the file already, there.
    pub fn again(span: Range<usize>, what: impl Display, first: usize) -> Self {
        Self {
            span,
            what: format!("{what} is listed twice"),
            first: Some(first),
        }
    }
}

/// A key and its value.
#[derive(Clone, Copy)]
pub struct Entry<'t> {
    key: &'t Spanned<DeString<'t>>,
    value: &'t Spanned<DeValue<'t>>,
}

/// A table and where it begins.
#[derive(Clone)]
pub struct Table<'t> {
    table: &'t DeTable<'t>,
    /// Its header, or its braces.
    pub span: Range<usize>,
}

impl<'t> Table<'t> {
    /// The whole file.
    pub fn root(table: &'t Spanned<DeTable<'t>>) -> Self {
        let span = table.span();
        let table = table.get_ref();
        Self { table, span }
    }

    /// What is in it, in the order of the file.
    pub fn entries(&self) -> Vec<Entry<'t>> {
        let entries = self.table.iter();
        let mut entries: Vec<_> = entries.map(|(key, value)| Entry { key, value }).collect();
        entries.sort_by_key(|entry| entry.key.span().start);
        entries
    }

    /// What it lacks.
    pub fn lacks(&self, key: &str, example: &str) -> Wrong {
        Wrong::new(self.span.clone(), format!("`{key}` is missing ({example})"))
    }
}

impl<'t> Entry<'t> {
    /// Its key.
    pub fn name(&self) -> &'t str {
        self.key.get_ref()
    }

    /// Where its value is.
    pub fn span(&self) -> Range<usize> {
        self.value.span()
    }

    /// An error about its value.
    pub fn wrong(&self, what: String) -> Wrong {
        Wrong::new(self.span(), what)
    }

    /// An error about its key, of which there are only these.
    pub fn unknown(&self, place: &str, known: &[&'static str]) -> Wrong {
        let name = brief(self.name());
        let what = match nearest(self.name(), known) {
            Some(near) => format!("unknown key `{name}` {place}: did you mean `{near}`?"),
            None => format!(
                "unknown key `{name}` {place} (there are {})",
                known.join(", ")
            ),
        };
        Wrong::new(self.key.span(), what)
    }

    fn must_be(&self, wanted: impl Display, found: impl Display) -> Wrong {
        self.wrong(format!("`{}` must be {wanted}, not {found}", self.name()))
    }

    /// A whole number in this range.
    pub fn number(&self, range: RangeInclusive<u32>) -> Result<u32, Wrong> {
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        let value = self.value.get_ref();
        let DeValue::Integer(number) = value else {
            return Err(self.must_be(wanted, kind(value)));
        };
        let (digits, radix) = (number.as_str(), number.radix());
        match u32::from_str_radix(digits, radix) {
            Ok(number) if range.contains(&number) => Ok(number),
            Ok(_) | Err(_) if radix == 10 => Err(self.must_be(wanted, brief(digits))),
            Ok(_) | Err(_) => Err(self.must_be(wanted, "this one")),
        }
    }

    /// The same, where 16 bits are enough for the range.
    pub fn small(&self, range: RangeInclusive<u16>) -> Result<u16, Wrong> {
        let (least, most) = range.into_inner();
        let number = self.number(least.into()..=most.into())?;
        // In range, so it fits.
        Ok(u16::try_from(number).unwrap_or(most))
    }

    /// A string.
    pub fn text(&self, example: &str) -> Result<&'t str, Wrong> {
        let value = self.value.get_ref();
        value
            .as_str()
            .ok_or_else(|| self.must_be(format_args!("a string ({example})"), kind(value)))
    }

    /// What a string means.
    pub fn parsed<T>(
        &self,
        example: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, Wrong> {
        parse(self.text(example)?).map_err(|why| self.wrong(why))
    }

    /// One of several words.
    pub fn word<T: Word>(&self) -> Result<T, Wrong> {
        let names: Vec<&'static str> = T::ALL.iter().map(|word| word.name()).collect();
        let wanted = || match names.split_last() {
            Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
            None => String::new(),
        };
        let value = self.value.get_ref();
        let Some(text) = value.as_str() else {
            return Err(self.must_be(wanted(), kind(value)));
        };
        T::find(text).ok_or_else(|| self.must_be(wanted(), format_args!("`{}`", brief(text))))
    }

    /// A table.
    pub fn table(&self) -> Result<Table<'t>, Wrong> {
        match self.value.get_ref() {
            DeValue::Table(table) => Ok(Table {
                table,
                span: self.span(),
            }),
            other => Err(self.must_be("a table", kind(other))),
        }
    }

    /// A list of tables, of which each header is written in these brackets.
    pub fn tables(&self, header: &str) -> Result<Vec<Table<'t>>, Wrong> {
        let wanted = format!("a list of tables, {header}");
        let DeValue::Array(list) = self.value.get_ref() else {
            return Err(self.must_be(wanted, kind(self.value.get_ref())));
        };
        let table = |value: &'t Spanned<DeValue<'t>>| match value.get_ref() {
            DeValue::Table(table) => Ok(Table {
                table,
                span: value.span(),
            }),
            other => {
                let (name, found) = (self.name(), kind(other));
                let what = format!("`{name}` must be {wanted}, not of {found}");
                Err(Wrong::new(value.span(), what))
            }
        };
        list.iter().map(table).collect()
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
